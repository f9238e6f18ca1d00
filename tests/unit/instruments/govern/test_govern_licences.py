"""What licences allow: each row against what the licence itself says, and what is not known is never allowed."""

from __future__ import annotations

import datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.instruments.govern.licences import judge_licence
from luthier.instruments.govern.licences_table import LICENCE_RULES, Use
from luthier.stages.model.catalogue import CATALOGUE

USES = get_args(Use)


@pytest.mark.parametrize(
    "licence", ["Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "LicenseRef-own"]
)
@pytest.mark.parametrize("use", USES)
def test_licences_without_a_bound_on_use_allow_every_use(licence: str, use: str) -> None:
    assert judge_licence(licence, use=use).verdict == "allowed"


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "LicenseRef-research-only"])
@pytest.mark.parametrize(
    ("use", "verdict"), [("commercial", "denied"), ("research", "allowed"), ("personal", "allowed")]
)
def test_licences_of_no_commerce_deny_commerce_alone(licence: str, use: str, verdict: str) -> None:
    judged = judge_licence(licence, use=use)

    assert judged.verdict == verdict
    assert judged.reason.startswith(f"{use} use: ")


def test_every_rule_says_what_it_asks_for_where_that_is_written_and_when_it_was_read() -> None:
    for name, rule in LICENCE_RULES.items():
        assert rule.condition, name
        assert rule.source, name
        assert datetime.date.fromisoformat(rule.checked_on).year >= 2026, name
        assert rule.uses <= set(USES), name
        assert {"research", "personal"} <= rule.uses, "a rule that allows nothing belongs to no base"


def test_a_name_with_nc_in_it_never_allows_commerce() -> None:
    """By SPDX's own words: NC is NonCommercial."""
    for name, rule in LICENCE_RULES.items():
        assert ("-NC" in name) <= ("commercial" not in rule.uses), name


def test_no_two_rules_differ_in_case_alone() -> None:
    """A licence is looked up in any case, so one of two such rules could never be found."""
    assert len({name.lower() for name in LICENCE_RULES}) == len(LICENCE_RULES)


@pytest.mark.parametrize("written", ["apache-2.0", "APACHE-2.0", "Apache-2.0"])
def test_a_licence_is_known_in_any_case_and_named_as_spdx_writes_it(written: str) -> None:
    judged = judge_licence(written, use="commercial")

    assert judged.licence == "Apache-2.0"
    assert (judged.source, judged.checked_on) == (LICENCE_RULES["Apache-2.0"].source, "2026-11-24")


@given(st.text(max_size=20).filter(lambda text: text.lower() not in {name.lower() for name in LICENCE_RULES}))
def test_what_is_not_in_the_table_is_unknown_whatever_it_looks_like(licence: str) -> None:
    for use in USES:
        judged = judge_licence(licence, use=use)
        assert judged.verdict == "unknown"
        assert judged.licence == licence
        assert (licence or "none stated") in judged.reason
        assert "model.license" in judged.reason


@given(st.sampled_from(sorted(LICENCE_RULES)), st.text(max_size=12).filter(lambda text: text not in USES))
def test_a_use_that_nobody_declared_is_denied(licence: str, use: str) -> None:
    assert judge_licence(licence, use=use).verdict == "denied"


def test_every_base_of_the_catalogue_has_a_licence_that_the_table_knows() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.licence in LICENCE_RULES, name
