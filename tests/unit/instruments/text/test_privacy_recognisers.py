"""Recognisers of private data against published test numbers, and against what only looks alike."""

import pytest

from luthier.instruments.text.privacy import KINDS, RECOGNISERS, find_private, replace_private
from luthier.instruments.text.privacy_checks import entropy_bits, is_card, is_iban, is_luhn_valid, is_us_ssn

# Made up here, or published by their issuers for tests; joined so that no scanner takes this file for a leak.
FILLING = "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX"


def _found(text: str) -> list[tuple[str, str]]:
    return [(finding.kind, text[finding.start : finding.end]) for finding in find_private(text)]


@pytest.mark.parametrize(
    "number",
    [
        "4111 1111 1111 1111",
        "4012888888881881",
        "5555-5555-5555-4444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "30569309025904",
        "3530111333300000",
    ],
)
def test_the_test_numbers_of_card_issuers_are_cards(number: str) -> None:
    assert _found(f"card {number}, please") == [("credit_card", number)]


@pytest.mark.parametrize(
    "number",
    [
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK60161331926819",
        "FR1420041010050500013M02606",
        "NO9386011117947",
        "MT84MALT011000012345MTLCAST001S",
    ],
)
def test_the_examples_of_the_iban_registry_are_ibans(number: str) -> None:
    assert _found(f"to {number}.") == [("iban", number)]
    assert is_iban(number.lower())


@pytest.mark.parametrize("position", range(16))
def test_one_wrong_digit_makes_a_card_invalid(position: int) -> None:
    """Luhn catches every single wrong digit."""
    digits = "4111111111111111"
    wrong = digits[:position] + str((int(digits[position]) + 1) % 10) + digits[position + 1 :]
    assert is_luhn_valid(digits)
    assert not is_luhn_valid(wrong)
    assert not is_card(wrong)


@pytest.mark.parametrize("position", range(2, 22))
def test_one_wrong_digit_makes_an_iban_invalid(position: int) -> None:
    """Modulo 97 catches every single wrong digit."""
    number = "DE89370400440532013000"
    wrong = number[:position] + str((int(number[position]) + 1) % 10) + number[position + 1 :]
    assert not is_iban(wrong)


@pytest.mark.parametrize("number", ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000"])
def test_numbers_that_social_security_never_gave_are_not_found(number: str) -> None:
    assert not is_us_ssn(number)
    assert _found(f"number {number}") == []


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("mail j.o'neil+x@sub.firma.co.uk now", "email", "j.o'neil+x@sub.firma.co.uk"),
        ("my SSN is 123-45-6789.", "us_ssn", "123-45-6789"),
        ("from 203.0.113.77:8080", "ip_address", "203.0.113.77"),
        ("at 2001:db8::8a2e:370:7334 now", "ip_address", "2001:db8::8a2e:370:7334"),
        ("call me on +44 7700 900123", "phone", "+44 7700 900123"),
        ("(415) 555-0132 is mine", "phone", "(415) 555-0132"),
        ("Telefon: tel. 030 90182099", "phone", "030 90182099"),
        ("born on 3 March 1974 in", "date_of_birth", "3 March 1974"),
        ("DOB: 1974-03-03", "date_of_birth", "1974-03-03"),
        ("AKIA" + "QRSTUVWX23456789 is the id", "aws_access_key", "AKIA" + "QRSTUVWX23456789"),
        ("ghp_" + FILLING, "github_token", "ghp_" + FILLING),
        ("glpat-" + FILLING[:20], "gitlab_token", "glpat-" + FILLING[:20]),
        ("sk_" + "live_" + FILLING[:24], "stripe_key", "sk_" + "live_" + FILLING[:24]),
        ("xoxb-" + FILLING[:24], "slack_token", "xoxb-" + FILLING[:24]),
        ("AI" + "za" + FILLING[:35], "google_key", "AI" + "za" + FILLING[:35]),
        ("sk-proj-" + FILLING, "api_key", "sk-proj-" + FILLING),
        ("hf_" + FILLING, "api_key", "hf_" + FILLING),
        ("password: Tr0ub4dor&3", "password", "Tr0ub4dor&3"),
        ('api_key = "9f8e7d6c5b4a39281706"', "password", "9f8e7d6c5b4a39281706"),
        ("the password is hunter2!x.", "password", "hunter2!x"),
        ("postgres://svc:q8Zt_x1@db.firma.de:5432/orders", "url_credentials", None),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlX2hlcmU", "jwt", None),
        (
            "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\n-----END RSA PRIVATE " + "KEY-----",
            "private_key",
            None,
        ),
    ],
)
def test_each_kind_is_found_whole(text: str, kind: str, value: str | None) -> None:
    assert _found(text) == [(kind, value or text)]


@pytest.mark.parametrize(
    "text",
    [
        "support@example.com is not monitored",
        "order number 4482629886553849",
        "tracking code 1Z829167010",
        "version 10.4.3.0 and section 3.1.4.4",
        "meeting on 2026-03-13 in room 214-11-08",
        "the invoice total was 4,010.13 EUR of 1 234 567.00",
        "part no. 322-04-3744X, SKU 489998234784",
        "localhost is 127.0.0.1",
        "commit f94970fd6e61b887c4fb35dc6a9fd08a2f5a032b",
        "id e169951a-3a9f-4ba6-acde-3931ac86a4ec",
        "I forgot my password, how can I reset it?",
        "the password is required and must be long",
        "password: <your password here>",
        "OPENAI_API_KEY=YOUR_API_KEY",
        "AWS_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID",
        "token = os.environ['FILLING']",
        "DATABASE_URL=postgres://user:password@localhost:5432/db",
        "the key is under the mat, token: none",
        "at 10:30:45 and 12:00",
        "",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert _found(text) == []


def test_of_overlapping_findings_the_longest_stays() -> None:
    """The address inside the URL is a mail address too; the URL covers it."""
    text = "see https://svc:q8Zt_x1@mail.firma.de/inbox and a@firma.de"
    assert [kind for kind, _ in _found(text)] == ["url_credentials", "email"]


def test_only_the_kinds_asked_for_are_found() -> None:
    assert [finding.kind for finding in find_private("a@firma.de 203.0.113.77", ["ip_address"])] == ["ip_address"]


def test_replacing_keeps_what_stands_between() -> None:
    text = "a@firma.de, b@firma.de!"
    assert replace_private(text, find_private(text), lambda kind, _: kind.upper()) == "EMAIL, EMAIL!"


def test_every_kind_has_a_lower_case_name_and_every_pattern_compiles_once() -> None:
    assert all(kind.isidentifier() and kind.islower() for kind in KINDS)
    assert len({recogniser.pattern.pattern for recogniser in RECOGNISERS}) == len(RECOGNISERS)


@pytest.mark.parametrize(("text", "bits"), [("", 0.0), ("aaaa", 0.0), ("abab", 1.0), ("abcd", 2.0)])
def test_entropy_of_equal_shares_is_their_logarithm(text: str, bits: float) -> None:
    assert entropy_bits(text) == pytest.approx(bits)


@pytest.mark.parametrize(
    "text",
    [
        unit * (50_000 // len(unit))
        for unit in ("a", "1", "1-", "password", "://:", "@.", "eyJ.", "-----BEGIN PRIVATE KEY-----", "call ", "GB29 ")
    ],
)
@pytest.mark.timeout(10)
def test_no_text_makes_a_pattern_run_away(text: str) -> None:
    found = find_private(text)
    assert [finding.start for finding in found] == sorted(finding.start for finding in found)
    assert all(0 <= finding.start < finding.end <= len(text) for finding in found)
