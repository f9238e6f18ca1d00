"""What the metrics on pairs share: which of two answers a number is on the side of."""

from __future__ import annotations


def side_with_chosen(lead: float) -> float:
    """Return 1 where the chosen answer leads, 0 where the rejected one does, one half at a tie.

    A tie is what tossing a coin would be right about half of the time.
    """
    return 0.5 if lead == 0.0 else float(lead > 0.0)
