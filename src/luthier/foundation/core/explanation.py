"""The form of one error code's page."""

from __future__ import annotations

from typing import NamedTuple


class Explanation(NamedTuple):
    """One code's page: what happened, why it is refused, what to do."""

    title: str
    why: str
    fix: str
