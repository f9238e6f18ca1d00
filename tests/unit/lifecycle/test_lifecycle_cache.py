"""The cache key as a function: what moves it and what does not."""

from __future__ import annotations

from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.registry import TABLES, get_rows
from luthier.foundation.schema.plugins import PluginConfig
from luthier.foundation.schema.sections import DataSection, Recipe, Source
from luthier.lifecycle.cache import FAMILIES, KeyParts, apply_fingerprint, compute_cache_key
from luthier.lifecycle.stages_table import STAGES
from tests.fixtures.fake_stages import load_any

VALUES = st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=4)
SECTION = st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=5)


class Ranked(PluginConfig):
    VERSION: ClassVar[int] = 3
    rank: int = 16


def key(**changes: object) -> str:
    parts = {"stage": "train", "version": 1, "sections": {"train": {"epochs": 3}}, "inputs": {"data": "d"}, "seed": 0}
    return compute_cache_key(KeyParts(**{**parts, **changes}), load=load_any)  # type: ignore[arg-type]


@given(section=SECTION, random=st.randoms())
def test_a_key_does_not_depend_on_the_order_of_fields(section, random) -> None:
    items = list(section.items())
    shuffled = dict(random.sample(items, len(items)))
    assert key(sections={"train": section}) == key(sections={"train": shuffled})


@given(first=SECTION, second=SECTION)
def test_two_sections_have_one_key_only_if_they_are_equal(first, second) -> None:
    same = key(sections={"train": first}) == key(sections={"train": second})
    assert same == (repr(sorted(first.items())) == repr(sorted(second.items())))


def test_stage_version_inputs_and_seed_each_move_the_key() -> None:
    keys = {
        key(),
        key(stage="evaluate"),
        key(version=2),
        key(inputs={"data": "e"}),
        key(inputs={"data": "d", "model": "m"}),
        key(seed=1),
        key(sections={"train": {"epochs": 4}}),
        key(sections={"train": {"epochs": 3}, "plan": {}}),
    }
    assert len(keys) == 8


def test_an_option_left_out_and_its_default_written_out_are_one_key() -> None:
    def with_options(**options: object) -> str:
        sections = {"train": {"method": {"type": "lora", "options": options}}}
        return compute_cache_key(KeyParts("train", 1, sections, {}, 0), load=lambda *_: Ranked)

    assert with_options() == with_options(rank=16)
    assert with_options() != with_options(rank=8)


def test_words_that_are_no_plug_in_load_nothing() -> None:
    def refuse(family: str, name: str) -> type[PluginConfig]:
        raise AssertionError(family + name)

    sections = {"plan": {"launcher": "auto"}, "train": {"backend": "luthier"}, "data": {"operators": "default"}}
    compute_cache_key(KeyParts("x", 1, sections, {}, 0), load=refuse)


def test_a_bare_name_counts_as_its_plug_in() -> None:
    sections = {"plan": {"launcher": next(iter(get_rows("launchers")))}}
    keys = {
        compute_cache_key(KeyParts("plan", 1, sections, {}, 0), load=lambda *_, kind=kind: kind)
        for kind in (PluginConfig, Ranked)
    }
    assert len(keys) == 2


def test_a_fingerprint_replaces_fields_and_none_takes_them_out() -> None:
    section = DataSection(sources=(Source(path="/a/b.jsonl"),))
    seen = apply_fingerprint(section, {"sources": ["digest"], "evaluation": None})
    assert seen["sources"] == ["digest"]
    assert "evaluation" not in seen
    assert seen["split"] == {"validation": 0.1, "test": 0.1, "by": "conversation"}
    assert "select" in seen, "a field that is None by itself stays"


def test_every_family_that_a_key_knows_exists_and_every_stage_has_its_section() -> None:
    assert set(FAMILIES.values()) <= set(TABLES)
    assert {spec.name for spec in STAGES} <= set(Recipe.model_fields)
    for path in FAMILIES:
        section, _, field = path.partition(".")
        assert field in type(getattr(Recipe(name="x"), section)).model_fields
