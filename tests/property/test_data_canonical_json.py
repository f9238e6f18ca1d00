"""Canonical JSON by the fast way equals the reference implementation's, byte for byte."""

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.core.hashing import canonical_json

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    LEAVES,
    lambda children: (
        st.lists(children, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=5)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_canonical_json_equals_the_reference_implementation(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        {"\ufb33": 1, "\U0001f600": 2, "\r": 3, "1": 4, "\u0080": 5, "\u00f6": 6, "\u20ac": 7},  # RFC 8785, 3.2.3
        [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],  # RFC 8785, 3.2.2
        {"a": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"},
        {"time": "at:10.30, [5.0"},
        0,
        "",
        -1.5,
    ],
)
def test_canonical_json_equals_the_reference_on_the_cases_of_the_standard(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], 2**53 + 1, {"a": "\ud800"}, object()])
def test_canonical_json_refuses_what_has_no_canonical_form(value: object) -> None:
    with pytest.raises((rfc8785.CanonicalizationError, UnicodeEncodeError)):
        canonical_json(value)
