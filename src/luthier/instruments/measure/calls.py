"""Whether two tool calls are the same: canonical comparison of names and arguments, several calls in any order."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from luthier.foundation.schema.rows import FunctionCall

IGNORED: Final = re.compile(r"[ ,./\-_*^]")


def calls_agree(expected: Sequence[FunctionCall], given: Sequence[FunctionCall], *, is_relaxed: bool) -> bool:
    """Tell whether the calls are the same, in any order, one to one.

    Args:
        expected: Calls of the reference.
        given: Calls of the answer.
        is_relaxed: Compare texts as BFCL does: without case, spaces and the characters ``, . / - _ * ^``.

    Source:
        Berkeley Function Calling Leaderboard, AST matching; bipartite matching instead of its greedy one.
    """
    if len(expected) != len(given):
        return False
    if not expected:
        return True
    agree = np.array([[_call_agrees(one, other, is_relaxed=is_relaxed) for other in given] for one in expected])
    rows, columns = linear_sum_assignment(agree, maximize=True)
    return bool(agree[rows, columns].all())


def _call_agrees(expected: FunctionCall, given: FunctionCall, *, is_relaxed: bool) -> bool:
    if expected.name != given.name:
        return False
    wanted, got = _parse(expected.arguments), _parse(given.arguments)
    return wanted is not None and got is not None and _value_agrees(wanted, got, is_relaxed=is_relaxed)


def _parse(arguments: str) -> dict[str, Any] | None:
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _value_agrees(expected: Any, given: Any, *, is_relaxed: bool) -> bool:  # noqa: ANN401  JSON values
    if isinstance(expected, dict) and isinstance(given, dict):
        return expected.keys() == given.keys() and all(
            _value_agrees(value, given[key], is_relaxed=is_relaxed) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(given, list):
        return len(expected) == len(given) and all(
            _value_agrees(one, other, is_relaxed=is_relaxed) for one, other in zip(expected, given, strict=True)
        )
    if isinstance(expected, str) and isinstance(given, str):
        return _normalise(expected) == _normalise(given) if is_relaxed else expected == given
    if isinstance(expected, bool) or isinstance(given, bool):
        return expected is given
    if isinstance(expected, int | float) and isinstance(given, int | float):
        return expected == given
    return expected is None and given is None


def _normalise(text: str) -> str:
    return IGNORED.sub("", text).lower().replace("'", '"')
