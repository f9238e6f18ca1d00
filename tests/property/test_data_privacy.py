"""Laws of finding and redacting private data, for numbers that are made and not picked."""

from hypothesis import given
from hypothesis import strategies as st

from luthier.instruments.text.privacy import find_private, replace_private
from luthier.instruments.text.privacy_checks import is_iban, is_luhn_valid


def _with_luhn_digit(digits: str) -> str:
    """Add the check digit by the rule itself: the one of ten that makes the sum a multiple of ten."""
    return next(digits + str(last) for last in range(10) if is_luhn_valid(digits + str(last)))


def _make_iban(country: str, account: str) -> str:
    """Compute the check digits as ISO 13616 says: 98 minus the remainder of the rearranged number."""
    number = int("".join(str(int(letter, 36)) for letter in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02}{account}"


@given(st.from_regex(r"4[0-9]{14}", fullmatch=True), st.sampled_from(["", " ", "-"]))
def test_every_valid_visa_number_is_found_however_it_is_grouped(digits: str, mark: str) -> None:
    number = _with_luhn_digit(digits)
    grouped = mark.join(number[start : start + 4] for start in range(0, 16, 4))
    if len(set(number)) > 1:
        assert [(each.kind, each.start, each.end) for each in find_private(f"pay {grouped} now")] == [
            ("credit_card", 4, 4 + len(grouped))
        ]


@given(st.from_regex(r"[0-9]{18}", fullmatch=True), st.booleans())
def test_every_valid_german_account_is_found(account: str, is_spaced: bool) -> None:
    number = _make_iban("DE", account)
    assert is_iban(number)
    shown = " ".join(number[start : start + 4] for start in range(0, 22, 4)) if is_spaced else number
    assert [each.kind for each in find_private(f"to {shown}")] == ["iban"]


@given(st.text(max_size=60))
def test_findings_are_in_order_apart_and_inside_the_text(text: str) -> None:
    findings = find_private(text)
    ends = [0, *(finding.end for finding in findings)]
    assert all(end <= finding.start < finding.end for end, finding in zip(ends, findings, strict=False))
    assert not findings or findings[-1].end <= len(text)


@given(
    st.lists(
        st.sampled_from(["a.b@firma.de", "+44 7700 900123", "203.0.113.77", "4111 1111 1111 1111", "hello", "\n"]),
        max_size=8,
    )
)
def test_nothing_private_is_left_after_redaction(pieces: list[str]) -> None:
    text = " and ".join(pieces)
    redacted = replace_private(text, find_private(text), lambda kind, _: f"<{kind.upper()}_1>")
    assert find_private(redacted) == ()
