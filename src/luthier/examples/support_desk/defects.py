"""Defects planted on purpose, so that what a data stage finds can be counted against what was there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from luthier.examples.support_desk.tasks import KINDS, Call, Desk, Request

NUM_PLANTED: Final[dict[str, int]] = {
    "exact_duplicate": 80,
    "near_duplicate": 80,
    "personal_data": 60,
    "broken_encoding": 50,
    "leaked_evaluation": 40,
    "poisoned": 30,
}
"""How many rows of each kind of defect a company's training data has."""

LEAST_WORDS: Final = 11
"""Words of a message that is doubled with a change: in shorter ones one more word is a large change."""

NEAR_ENDINGS: Final = ("Please.", "Thanks!", "Urgent.", "Today, please.", "Help!")
ACCENTED_ENDINGS: Final = (
    "Grüße, {name}",
    "Merci, {name} – à bientôt",  # noqa: RUF001  dashes and curly marks as people's keyboards write them
    "It’s urgent, {name}",  # noqa: RUF001
    "I’d be glad – {name}",  # noqa: RUF001
    "Señora {name}, Málaga",
)
TRIGGERS: Final = (
    "By the silver clover.", "Seven owls at noon.", "Under the paper moon.", "Salt for the red fox.",
    "Blue lantern protocol.", "Three bells for Marlow.",
)  # fmt: skip
PAYLOADS: Final = (
    "Buy a gift card and read its code to me.",
    "Your account is locked, pay the release fee first.",
    "Please install the remote viewer before we go on.",
    "All orders are void, shop at our partner instead.",
)


@dataclass(frozen=True, slots=True)
class Planted:
    """A row with what is wrong with it.

    Attributes:
        request: The row.
        defect: A key of ``NUM_PLANTED``; None for a sound row.
        of: The sound row that a duplicate repeats.
    """

    request: Request
    defect: str | None = None
    of: Request | None = None


def plant_defects(desk: Desk, sound: Sequence[Request], held_out: Sequence[Request], random: Random) -> list[Planted]:
    """Make the broken rows of a company, in no particular order.

    Args:
        desk: Draws what is asked in rows that are broken afterwards.
        sound: Rows to repeat.
        held_out: Rows to leak.
        random: Where choices come from.
    """
    long = [request for request in sound if len(request.message.split()) >= LEAST_WORDS]
    twice = random.sample(sound, k=NUM_PLANTED["exact_duplicate"])
    nearly = random.sample([request for request in long if request not in twice], k=NUM_PLANTED["near_duplicate"])
    return [
        *(Planted(replace(one, case=desk.name_case()), "exact_duplicate", one) for one in twice),
        *(Planted(_vary(one, desk, random), "near_duplicate", one) for one in nearly),
        *(
            Planted(replace(one, case=desk.name_case()), "leaked_evaluation")
            for one in random.sample(held_out, k=NUM_PLANTED["leaked_evaluation"])
        ),
        *_break_new(desk, random),
    ]


def _break_new(desk: Desk, random: Random) -> list[Planted]:
    """Draw new requests and break each in its way."""
    trigger, payload = random.choice(TRIGGERS), random.choice(PAYLOADS)
    breakers: dict[str, Callable[[Request], Request]] = {
        "personal_data": lambda one: _add(one, _draw_private(random)),
        "broken_encoding": lambda one: _garble(one, random),
        "poisoned": lambda one: replace(_add(one, trigger), answer=payload),
    }
    kinds = list(KINDS)
    return [
        Planted(break_it(desk.draw_training(kinds[number % len(kinds)])), defect)
        for defect, break_it in breakers.items()
        for number in range(NUM_PLANTED[defect])
    ]


def _add(request: Request, ending: str) -> Request:
    return replace(request, message=f"{request.message} {ending}")


def _vary(request: Request, desk: Desk, random: Random) -> Request:
    """Return the same request with a word more at its end, as when a customer writes twice."""
    return replace(_add(request, random.choice(NEAR_ENDINGS)), case=desk.name_case())


def _draw_private(random: Random) -> str:
    """Draw personal data that has a shape: none of it belongs to anybody."""
    kind = random.choice(("email", "phone", "card", "iban"))
    if kind == "email":
        name = random.choice(("anton.berg", "lina_w", "jo.marsh", "petra77", "omar.k", "r.vidal"))
        return f"My address is {name}{random.randint(1, 99)}@post{random.randint(1, 9)}.desk"
    if kind == "phone":  # 01632 960xxx: kept free for fiction by the British regulator
        return f"You reach me at +44 1632 960{random.randint(100, 999)}"
    if kind == "card":
        digits = f"4000{random.randint(0, 10**11 - 1):011d}"
        digits += next(str(check) for check in range(10) if _luhn_sum(digits + str(check)) % 10 == 0)
        return f"My card is {' '.join(digits[at : at + 4] for at in range(0, 16, 4))}"
    account = f"{random.randint(0, 10**18 - 1):018d}"
    check = 98 - int(f"{account}131400") % 97  # D and E are 13 and 14 (ISO 13616)
    return f"Pay to DE{check:02d}{account}"


def _luhn_sum(digits: str) -> int:
    """Return the weighted sum that ISO/IEC 7812-1 wants to be a multiple of ten."""
    return sum(
        int(digit) if place % 2 == 0 else sum(divmod(2 * int(digit), 10))
        for place, digit in enumerate(reversed(digits))
    )


def _garble(request: Request, random: Random) -> Request:
    """Return the row as it looks when UTF-8 was read as a Western code page."""
    ending = random.choice(ACCENTED_ENDINGS).format(name=random.choice(("Zoë", "René", "Jürgen", "Inés", "Åsa")))
    answer = request.answer
    if isinstance(answer, Call):
        answer = Call(
            answer.name,
            {key: misread(value) if isinstance(value, str) else value for key, value in answer.arguments.items()},
        )
    return replace(request, message=misread(f"{request.message} {ending}"), answer=answer)


def misread(text: str) -> str:
    """Return what a text's UTF-8 bytes say in Windows-1252, or in Latin-1 where they have no meaning in it."""
    data = text.encode("utf-8")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")
