"""Recognisers of personal data that has a shape: mail, phone, bank, card, network address, US SSN, birth date."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from luthier.instruments.text.privacy_checks import is_card, is_iban, is_us_ssn
from luthier.instruments.text.privacy_pattern import Recogniser

_RESERVED_DOMAIN = re.compile(r"(?i)@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|test|invalid|localhost|example)$")
_MANY_DIGITS = re.compile(r"\d(?:[ ()./-]{0,3}\d){6}")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_DATE = (
    r"(?:\d{4}-\d\d-\d\d|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"
    rf"|\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}})"
)
_CALL_WORDS = r"(?:phone|telephone|tel|mobile|cell|call|callback|fax|whatsapp|text|ring|reach|dial)"
_LOOSE_PHONE = r"\(?\d(?:[ ().-]{0,2}\d){6,14}(?: ?x\d{1,5})?"


def _is_deliverable(address: str) -> bool:
    """Tell whether an address could reach somebody: names reserved by RFC 2606 cannot."""
    return _RESERVED_DOMAIN.search(address) is None


def _has_phone_length(candidate: str) -> bool:
    """Tell whether a candidate has 7 to 15 digits, as E.164 allows, and is no plain date."""
    digits = re.sub(r"\D", "", candidate)
    is_date = re.fullmatch(r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]\d{1,2}", candidate) is not None
    return 7 <= len(digits) <= 15 and not is_date


def _is_public_address(candidate: str) -> bool:
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _phone(pattern: str) -> Recogniser:
    return Recogniser("phone", re.compile(pattern, re.IGNORECASE), hint=_MANY_DIGITS, accept=_has_phone_length)


PERSONAL: Final[tuple[Recogniser, ...]] = (
    Recogniser(
        "email",
        re.compile(
            r"(?<![\w.+-])[A-Za-z0-9][\w.!#$%&'*+/=?^`{|}~-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
            r"[A-Za-z]{2,24}(?![\w@-])"
        ),
        hints=("@",),
        accept=_is_deliverable,
    ),
    Recogniser(
        "iban",
        re.compile(r"(?i)(?<![A-Z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Z0-9])"),
        hint=re.compile(r"(?i)[A-Z]{2}\d{2}[ -]?[A-Z0-9]{4}"),
        accept=is_iban,
    ),
    Recogniser(
        "credit_card",
        re.compile(r"(?<![\d.,+-])\d(?:[ -]?\d){11,18}(?![\d]|[.,]\d)"),
        hint=_MANY_DIGITS,
        accept=is_card,
    ),
    Recogniser(
        "us_ssn",
        re.compile(r"(?<![\w-])\d{3}(?P<mark>[- ])\d{2}(?P=mark)\d{4}(?![\w-])"),
        hint=_MANY_DIGITS,
        accept=is_us_ssn,
    ),
    Recogniser(
        "ip_address",
        re.compile(
            r"(?i)(?<![\w.])(?<!version )(?<!section )(?<!release )(?<!chapter )(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"
            r"|(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}(?![\w:])"
        ),
        hint=re.compile(r"\d\.\d{1,3}\.\d|[0-9a-fA-F]:[0-9a-fA-F:]+:"),
        accept=_is_public_address,
    ),
    Recogniser(
        "date_of_birth",
        re.compile(
            rf"(?i)\b(?:born|birth|birthday|birthdate|dob|d\.o\.b)\b\.?[^\n\d]{{0,20}}?\b(?P<value>{_DATE})(?!\d)"
        ),
        hints=("born", "birth", "dob", "d.o.b"),
    ),
    _phone(r"(?<![\w+])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}(?!\w)"),
    _phone(
        r"(?<![\w.,+/-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}(?: ?x\d{1,5})?(?![\w-]|[.,]\d)"
    ),
    _phone(r"(?<![\w.,+/-])\(?0(?!00)\d{1,4}\)?(?:[ -]\d{2,4}){2,4}(?![\w-]|[.,]\d)"),
    _phone(r"(?<![\w.,+/-])(?:\(\d{2,4}\) ?\d{3,4}[ -]\d{3,4}|\d{3} \d{2} \d{3})(?![\w-]|[.,]\d| \d)"),
    _phone(
        rf"(?<![a-z]){_CALL_WORDS}\b(?: me| us| number| no\.?| at| on| is| my|[:#.]){{0,4}} {{0,2}}"
        rf"(?P<value>{_LOOSE_PHONE})(?![\w-]|[.,]\d)"
    ),
    _phone(rf"(?<![\w.])(?P<value>{_LOOSE_PHONE})(?=[ -](?:office|fax|mobile|cell)\b)"),
)
"""Each row finds one kind; several rows may share a kind."""
