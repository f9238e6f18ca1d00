"""What every metric must do, whatever it measures: prefer right answers, count by references alone, never break."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from luthier.foundation.schema.plugins import PluginConfig
from luthier.foundation.schema.rows import FunctionCall, Message, ToolCall
from luthier.instruments.measure.metric import Item

_TEXTS: Final = ("refund", "card arrival", "Top up by card.", '{"city": "Bern", "day": 3}', "Ünïcode ①", "refund")
_ODD_ANSWERS: Final = ("", " \n", "{", "[" * 5000, "\u200b", "x" * 10_000, "NaN", '{"a": 1, "a": 2}')


def make_items() -> tuple[list[Item], list[Item]]:
    """Return the same questions answered rightly and wrongly; a right answer is also the likelier one."""
    right, wrong = [], []
    for text in _TEXTS:
        reference = Message(role="assistant", content=text)
        right.append(Item(reference, answer=text, content=text, nats=1.0, lead=3.0, base_lead=1.0))
        wrong.append(Item(reference, answer="no: {", content="no: {", nats=40.0, lead=-3.0, base_lead=1.0))
    call = ToolCall(function=FunctionCall(name="find", arguments='{"city": "Bern"}'))
    other = ToolCall(function=FunctionCall(name="book", arguments="{}"))
    reference = Message(role="assistant", content="{}", tool_calls=(call,))
    right.append(Item(reference, answer="{}", content="{}", calls=(call,), nats=1.0))
    wrong.append(Item(reference, answer="no: {", content="no: {", calls=(other,), nats=40.0))
    return right, wrong


def find_metric_faults(runtime: Any, config: type[PluginConfig]) -> Iterator[str]:  # noqa: ANN401  family's protocol
    """Yield what a metric does that no metric may; one with required options is judged by its own tests."""
    if any(field.is_required() for field in config.model_fields.values()):
        return
    options = config()
    all_right, all_wrong = make_items()
    counted = [runtime.counts(item, options) for item in all_right]
    if counted != [runtime.counts(item, options) for item in all_wrong]:
        yield "which questions count depends on the answer; systems would no longer be paired"
    right = [item for item in all_right if runtime.counts(item, options)]
    wrong = [item for item in all_wrong if runtime.counts(item, options)]
    if len(right) != len(wrong) or not right:
        return
    sign = 1.0 if runtime.higher_is_better else -1.0
    if any(
        sign * runtime.score(good, options) < sign * runtime.score(bad, options)
        for good, bad in zip(right, wrong, strict=True)
    ):
        yield "a wrong answer scores better than the reference itself"
    value = evaluate(runtime, right, options)
    if not sign * value > sign * evaluate(runtime, wrong, options):
        yield "right answers throughout are not better than wrong ones throughout"
    if not np.isclose(evaluate(runtime, right[::-1], options), value, rtol=1e-12):
        yield "the value depends on the order of rows"
    yield from _find_breaks(runtime, right, options)


def evaluate(runtime: Any, items: Sequence[Item], options: PluginConfig) -> float:  # noqa: ANN401  family's protocol
    """Return the metric's value on some answers."""
    sample = runtime.sample(items, options)
    return float(sample.statistic(sample.totals.sum(axis=0)))


def _find_breaks(runtime: Any, items: Sequence[Item], options: PluginConfig) -> Iterator[str]:  # noqa: ANN401
    sample = runtime.sample(items, options)
    if sample.totals.ndim != 2 or len(sample.totals) != len(items):
        yield f"sample gives totals of shape {sample.totals.shape} for {len(items)} answers; one line of totals a row"
    for answer in _ODD_ANSWERS:
        odd = [dataclasses.replace(item, answer=answer, content=answer, calls=()) for item in items]
        try:
            values = [*(runtime.score(item, options) for item in odd), evaluate(runtime, odd, options)]
        except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
            yield f"the answer {answer[:12]!r} breaks it: {type(error).__name__}: {error}"
            continue
        if not np.isfinite(values).all():
            yield f"the answer {answer[:12]!r} gives a score that is not a number"
