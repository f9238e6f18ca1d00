"""Requests and their right answers: each follows from the policy and the message's facts, never from a list.

A case is one customer's matter; its facts can be asked in several phrasings. ``KINDS`` has one row a kind of request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from luthier.examples.support_desk.phrasings_table import PHRASINGS
from luthier.examples.support_desk.policy import WEEKDAYS, Policy
from luthier.examples.support_desk.vocabulary_table import HELD_OUT, TRAINING, Pool

Facts = dict[str, Any]
OPENING_SHARE: Final = 0.25
CLOSING_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Call:
    """An answer that calls a tool."""

    name: str
    arguments: dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Request:
    """One row to be: what a customer asks and what is right to answer.

    Attributes:
        kind: A key of ``KINDS``.
        case: Names the matter; paraphrases of one matter share it.
        message: The customer's text.
        answer: A sentence or a tool call.
    """

    kind: str
    case: str
    message: str
    answer: str | Call


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    Attributes:
        draw: Draws what the message will state, beside order, item and name.
        answer: Derives the right answer from policy and facts.
    """

    draw: Callable[[Policy, Pool, Random], Facts]
    answer: Callable[[Policy, Facts], str | Call]


class Desk:
    """Draws requests to one company; no order number is drawn twice."""

    def __init__(self, policy: Policy, random: Random) -> None:
        """Start with all order numbers free."""
        self.policy = policy
        self._random = random
        self._orders = random.sample(range(1000, 10_000), k=9000)
        self._num_cases = 0

    def draw_training(self, kind: str) -> Request:
        """Draw one request in a phrasing of training."""
        return next(self._draw(kind, TRAINING, list(PHRASINGS[kind].training)))

    def draw_case(self, kind: str, *, num_turns: int) -> list[Request]:
        """Draw one held-out case, told in so many different phrasings."""
        told = self._draw(kind, HELD_OUT, list(PHRASINGS[kind].held_out))
        return [next(told) for _ in range(num_turns)]

    def name_case(self) -> str:
        """Return the next case's name; later ones sort behind earlier ones."""
        self._num_cases += 1
        return f"case-{self._num_cases:05d}"

    def _draw(self, kind: str, pool: Pool, phrasings: list[str]) -> Iterator[Request]:
        facts = {
            "order": self._orders.pop(),
            "item": self._random.choice(pool.items),
            **KINDS[kind].draw(self.policy, pool, self._random),
        }
        case, answer = self.name_case(), KINDS[kind].answer(self.policy, facts)
        self._random.shuffle(phrasings)
        for phrasing in phrasings:
            yield Request(kind, case, self._frame(phrasing.format(**facts), pool), answer)

    def _frame(self, core: str, pool: Pool) -> str:
        """Put a greeting before and a name behind some messages."""
        parts = [core[0].upper() + core[1:]]
        if self._random.random() < OPENING_SHARE:
            parts.insert(0, self._random.choice(pool.openings))
        if self._random.random() < CLOSING_SHARE:
            parts.append(self._random.choice(pool.closings).format(name=self._random.choice(pool.names)))
        return " ".join(parts)


def _draw_nothing(policy: Policy, pool: Pool, random: Random) -> Facts:  # noqa: ARG001  one shape for all kinds
    return {}


def _draw_up_to(limit: int, random: Random, *, least: int = 1, times: int = 3) -> int:
    """Draw a number that is as often within a limit as above it."""
    return random.randint(least, limit) if random.random() < 0.5 else random.randint(limit + 1, times * limit)


def _draw_state(policy: Policy, pool: Pool, random: Random) -> Facts:  # noqa: ARG001
    has_shipped = random.random() < 0.5
    return {
        "state": random.choice(pool.shipped_states if has_shipped else pool.open_states),
        "has_shipped": has_shipped,
    }


def _draw_topic(policy: Policy, pool: Pool, random: Random) -> Facts:  # noqa: ARG001
    team = random.choice(sorted(pool.topics))
    return {"team": team, "topic": random.choice(pool.topics[team])}


def _draw_weekday(policy: Policy, pool: Pool, random: Random) -> Facts:  # noqa: ARG001
    first_closed = WEEKDAYS.index(policy.last_open_day) + 1
    days = WEEKDAYS[:first_closed] if random.random() < 0.5 else WEEKDAYS[first_closed:]
    return {"weekday": random.choice(days)}


def _answer_cancel(policy: Policy, facts: Facts) -> str | Call:  # noqa: ARG001
    if facts["has_shipped"]:
        return f"Order {facts['order']} has shipped and cannot be cancelled."
    return Call("cancel", {"order": facts["order"]})


def _answer_refund(policy: Policy, facts: Facts) -> Call:
    if facts["amount"] > policy.refund_limit:
        return Call("assign", {"order": facts["order"], "team": "billing"})
    return Call("refund", {"order": facts["order"], "amount": facts["amount"]})


def _answer_return(policy: Policy, facts: Facts) -> str:
    if facts["days"] > policy.return_days:
        return f"Order {facts['order']} is past the {policy.return_days} days for returns."
    return f"Order {facts['order']} can be returned."


def _answer_delivery(policy: Policy, facts: Facts) -> str:
    days = policy.delivery_days[policy.tiers.index(facts["tier"])]
    return f"With {facts['tier']}, order {facts['order']} takes {days} days."


def _answer_shipping(policy: Policy, facts: Facts) -> str:
    fee = "free" if facts["total"] >= policy.free_from else f"{policy.shipping_fee} euros"
    return f"Shipping for order {facts['order']} is {fee}."


def _answer_hours(policy: Policy, facts: Facts) -> str:
    is_open = WEEKDAYS.index(facts["weekday"]) <= WEEKDAYS.index(policy.last_open_day)
    return f"{'Yes, we are open' if is_open else 'No, we are closed'} on {facts['weekday']}."


KINDS: Final[dict[str, Kind]] = {
    "status": Kind(_draw_nothing, lambda _, facts: Call("track", {"order": facts["order"]})),
    "cancel": Kind(_draw_state, _answer_cancel),
    "address": Kind(
        lambda _, pool, random: {"city": random.choice(pool.cities)},
        lambda _, facts: Call("move", {"order": facts["order"], "city": facts["city"]}),
    ),
    "refund": Kind(
        lambda policy, _, random: {"amount": _draw_up_to(policy.refund_limit, random, least=5)}, _answer_refund
    ),
    "return": Kind(
        lambda policy, _, random: {"days": _draw_up_to(policy.return_days, random, least=2)}, _answer_return
    ),
    "delivery": Kind(lambda policy, _, random: {"tier": random.choice(policy.tiers)}, _answer_delivery),
    "shipping": Kind(
        lambda policy, _, random: {"total": _draw_up_to(policy.free_from - 1, random, least=8)}, _answer_shipping
    ),
    "team": Kind(_draw_topic, lambda _, facts: Call("assign", {"order": facts["order"], "team": facts["team"]})),
    "hours": Kind(_draw_weekday, _answer_hours),
}
