"""Values of a request's fields, each checked for kind and range before anything is done with it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from luthier.foundation.core.errors import ServeError


def refuse_value(field: str, rule: str, *, got: object, allowed: str) -> NoReturn:
    """Refuse a field's value.

    Raises:
        ServeError: E-SRV-023.
    """
    raise ServeError(
        "E-SRV-023", f"'{field}' {rule}", got=got, allowed=allowed, fix=f"send {field} as {allowed}", field=field
    )


def refuse_unsupported(field: str, *, got: object, allowed: str, fix: str) -> NoReturn:
    """Refuse what other servers can do and this one cannot, instead of answering as if it were not there.

    Raises:
        ServeError: E-SRV-025.
    """
    raise ServeError(
        "E-SRV-025", f"'{field}' asks for what this server does not do", got=got, allowed=allowed, fix=fix, field=field
    )


def check_keys(values: Mapping[str, object], known: Collection[str], *, field: str = "") -> None:
    """Refuse keys that nobody knows, with the nearest that is known.

    Raises:
        ServeError: E-SRV-024.
    """
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key[:64], known, n=1)
            raise ServeError(
                "E-SRV-024",
                "a field is not known" + (f"; the nearest is {near[0]!r}" if near else ""),
                got=key,
                allowed=", ".join(sorted(known)),
                fix=f"send {near[0]} instead" if near else "leave the field out",
                field=f"{field}.{key}"[:128] if field else key[:128],
            )


def read_int(values: Mapping[str, Any], field: str, low: int, high: int) -> int | None:
    """Read a whole number, None where it is absent or null.

    Raises:
        ServeError: E-SRV-023.
    """
    value = values.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse_value(field, "is out of bounds", got=value, allowed=f"a whole number from {low} to {high}")
    return value


def read_number(values: Mapping[str, Any], field: str, low: float, high: float) -> float | None:
    """Read a number, None where it is absent or null.

    Raises:
        ServeError: E-SRV-023.
    """
    value = values.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        refuse_value(field, "is out of bounds", got=value, allowed=f"a number from {low:g} to {high:g}")
    return float(value)


def read_bool(values: Mapping[str, Any], field: str) -> bool:
    """Read a truth value, False where it is absent or null.

    Raises:
        ServeError: E-SRV-023.
    """
    value = values.get(field)
    if value is not None and not isinstance(value, bool):
        refuse_value(field, "is no truth value", got=value, allowed="true or false")
    return bool(value)


def read_text(values: Mapping[str, Any], key: str, field: str, *, max_characters: int) -> str | None:
    """Read a short text, None where it is absent or null.

    Raises:
        ServeError: E-SRV-023.
    """
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > max_characters:
        refuse_value(field, "is no short text", got=value, allowed=f"a text of at most {max_characters} characters")
    return value
