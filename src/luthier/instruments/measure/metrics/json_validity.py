"""JSON validity: the answer can be read by a program."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.metric import Item, MeanMetric

FENCE: Final = re.compile(r"^```(?:json)?\s*\n(.*)\n```$", re.DOTALL)


class Config(MetricConfig):
    """Share of answers that are one JSON value by RFC 8259: no duplicate keys, no NaN, nothing around it.

    Attributes:
        allow_fence: Take the value out of a Markdown code fence.
        same_keys: Also ask that an object has the keys of the reference's object.
    """

    SOURCE = "RFC 8259"

    allow_fence: bool = False
    same_keys: bool = False


class JsonValidity(MeanMetric):
    """Parses answers strictly."""

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401  protocol
        """Return 1 where the answer is valid, else 0."""
        text = item.answer.strip()
        fenced = FENCE.match(text) if config.allow_fence else None
        is_valid, value = _parse_strictly(fenced[1] if fenced else text)
        if is_valid and config.same_keys:
            _, expected = _parse_strictly(item.reference.text.strip())
            if isinstance(expected, dict):
                return float(isinstance(value, dict) and value.keys() == expected.keys())
        return float(is_valid)


def _parse_strictly(text: str) -> tuple[bool, Any]:
    try:
        return True, json.loads(text, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False, None


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        message = "duplicate key"
        raise ValueError(message)
    return result


def _refuse_constant(name: str) -> None:
    message = f"{name} is not JSON"
    raise ValueError(message)


PLUGIN = JsonValidity()
