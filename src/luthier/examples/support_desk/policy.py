"""A company's written policy: its numbers, the section that every row's system message holds, and its tools."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final

from luthier.examples.support_desk.vocabulary_table import COMPANIES, TIERS

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the company has decided; every right answer follows from it and from the message.

    Attributes:
        company: Its name.
        return_days: Days after delivery in which an order can be returned, the last included.
        refund_limit: Greatest refund that support pays itself, in euros.
        free_from: Total from which shipping is free, in euros, this total included.
        shipping_fee: What it costs below, in euros.
        tiers: Names of the memberships, the fastest first.
        delivery_days: Days that an order takes, for each of ``tiers``.
        last_open_day: The company is open from Monday to this day.
    """

    company: str
    return_days: int
    refund_limit: int
    free_from: int
    shipping_fee: int
    tiers: tuple[str, str, str]
    delivery_days: tuple[int, int, int]
    last_open_day: str

    def write_section(self) -> str:
        """Return the policy as the system message says it."""
        quick, middle, slow = (f"{tier} {days} days" for tier, days in zip(self.tiers, self.delivery_days, strict=True))
        return (
            f"You are the support desk of {self.company}. Policy:\n"
            f"Returns: up to {self.return_days} days after delivery.\n"
            f"Refunds: up to {self.refund_limit} euros; above, assign to billing.\n"
            "Shipped orders cannot be cancelled.\n"
            f"Delivery: {quick}, {middle}, {slow}.\n"
            f"Shipping: free from {self.free_from} euros, else {self.shipping_fee} euros.\n"
            f"Open: Monday to {self.last_open_day}.\n"
            "Teams: billing for money, technical for faults, privacy for data."
        )


def draw_policy(random: Random) -> Policy:
    """Draw a company and its numbers."""
    quick = random.choice((2, 3))
    middle = quick + random.choice((2, 3))
    return Policy(
        company=random.choice(COMPANIES),
        return_days=random.choice((10, 14, 20, 30)),
        refund_limit=random.choice((50, 80, 100, 200)),
        free_from=random.choice((30, 40, 50, 60, 70)),
        shipping_fee=random.choice((3, 4, 5, 6)),
        tiers=random.choice(TIERS),
        delivery_days=(quick, middle, middle + random.choice((2, 3))),
        last_open_day=random.choice(("Friday", "Saturday")),
    )


def _tool(name: str, **properties: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS: Final = (
    _tool("track", order="integer"),
    _tool("cancel", order="integer"),
    _tool("refund", order="integer", amount="integer"),
    _tool("move", order="integer", city="string"),
    _tool("assign", order="integer", team="string"),
)
"""The same list for every row, so that it is computed once for all of them."""
