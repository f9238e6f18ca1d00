"""Checksums that tell a real number from one that only looks like it: cards, bank accounts, US social security."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

IBAN_LENGTHS: Final[dict[str, int]] = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24,
    "XK": 20,
}  # fmt: skip
"""Characters of an IBAN by country. Source: SWIFT IBAN registry."""

_CARD_PREFIX = re.compile(
    r"4\d{12}(\d{3}){0,2}$|5[1-5]\d{14}$|2(22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}$|3[47]\d{13}$"
    r"|3(0[0-5]|[689]\d)\d{11}(\d{2,3})?$|6(011|5\d\d|4[4-9]\d)\d{12}$|(2131|1800)\d{11}$|35\d{14}$"
    r"|(5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}$|62\d{14,17}$"
)


def is_luhn_valid(digits: str) -> bool:
    """Tell whether digits pass the Luhn check.

    Source:
        ISO/IEC 7812-1, annex B.
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        doubled = value * 2 - 9 if value > 4 else value * 2
        total += doubled if place % 2 else value
    return total % 10 == 0


def is_card(candidate: str) -> bool:
    """Tell whether digits with spaces or hyphens are a payment card: known issuer range, length and Luhn."""
    digits = re.sub(r"[ -]", "", candidate)
    return len(set(digits)) > 1 and _CARD_PREFIX.match(digits) is not None and is_luhn_valid(digits)


def is_iban(candidate: str) -> bool:
    """Tell whether a text is an IBAN: its country's length and remainder 1 modulo 97.

    Source:
        ISO 13616-1, ISO/IEC 7064 MOD 97-10.
    """
    compact = re.sub(r"[ -]", "", candidate).upper()
    if IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(letter, 36)) for letter in rearranged)) % 97 == 1


def is_us_ssn(candidate: str) -> bool:
    """Tell whether ``AAA-GG-SSSS`` can have been issued: no 000, 666 or 9xx area, no 00 group, no 0000 serial.

    Source:
        US Social Security Administration, number assignment since 2011.
    """
    area, group, serial = re.split(r"[- ]", candidate)
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def entropy_bits(text: str) -> float:
    """Return the Shannon entropy of a text's characters.

    Units:
        Bits a character.
    """
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values()) if total else 0.0
