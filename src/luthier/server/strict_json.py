"""JSON from strangers: one object, bounded in depth, each key once, numbers finite, text that can be encoded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from luthier.foundation.core.errors import ServeError

MAX_DEPTH: Final = 64
MAX_NUMBER_CHARACTERS: Final = 100


class _LooseJsonError(ValueError):
    """One thing that JSON leaves open and a request must not leave open."""


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Parse the body of a request.

    Raises:
        ServeError: E-SRV-020 when it is not UTF-8, not JSON, no object, too deep, or has a key twice, a number that
            is not finite, or half a surrogate pair.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_pair_once,
            parse_float=_parse_float,
            parse_int=_parse_int,
            parse_constant=_refuse_constant,
        )
        _check_tree(value)
    except RecursionError:
        _refuse(f"it is deeper than {MAX_DEPTH} levels")
    except UnicodeDecodeError as error:
        _refuse(f"byte {error.start} is not UTF-8")
    except ValueError as error:
        _refuse(str(error))
    if not isinstance(value, dict):
        _refuse("it must be one object")
    return value


def _refuse(reason: str) -> NoReturn:
    raise ServeError(
        "E-SRV-020",
        "the body cannot be read as JSON",
        got=reason,
        allowed=f"one JSON object in UTF-8, at most {MAX_DEPTH} levels deep, each key once, numbers finite",
        fix='send {"model": "NAME", "messages": [{"role": "user", "content": "…"}]}',
    )


def _pair_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        message = f"the key {twice[:64]!r} is there twice"
        raise _LooseJsonError(message)
    return found


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        message = f"the number {text[:32]} is not finite"
        raise _LooseJsonError(message)
    return value


def _parse_int(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        message = f"a number has {len(text)} digits"
        raise _LooseJsonError(message)
    return int(text)


def _refuse_constant(text: str) -> NoReturn:
    message = f"{text} is no number of JSON"
    raise _LooseJsonError(message)


def _check_tree(value: object) -> None:
    """Walk without recursion; strings that hold half a surrogate pair could never be encoded again."""
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            if not item.isascii():
                _check_text(item)
            continue
        if not isinstance(item, dict | list):
            continue
        if depth > MAX_DEPTH:
            message = f"it is deeper than {MAX_DEPTH} levels"
            raise _LooseJsonError(message)
        waiting.extend((child, depth + 1) for child in _list_children(item))


def _list_children(item: dict[str, Any] | list[Any]) -> Iterator[object]:
    if isinstance(item, dict):
        yield from item.keys()
        yield from item.values()
    else:
        yield from item


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = "a text holds half a surrogate pair"
        raise _LooseJsonError(message) from error
