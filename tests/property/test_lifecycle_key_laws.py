"""Whatever a person writes as a reference ends in a model or in one coded problem; keys are as good as their parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import LuthierError, ModelError
from luthier.lifecycle.cache import KeyParts, compute_cache_key
from luthier.lifecycle.references import Reference, resolve_pair, resolve_reference
from tests.fixtures.fake_stages import Bench, load_any, open_quick_folder

WORDS = st.text(max_size=12) | st.sampled_from(
    [
        "base",
        "run:",
        "run:0000",
        "run:%",
        "run:../..",
        "release:x",
        "https://host/v1#m",
        "~",
        "~x",
        ".",
        "..",
        "/",
        "a b",
    ]
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        made = Bench(folder)
        made.run("train")
        yield made


@contextmanager
def being_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def locate_nothing(name: str) -> Path:
    """Know no base at all."""
    raise ModelError("E-MOD-004", "there is no such base", got=name, fix="luthier model list")


@settings(max_examples=150)
@given(ref=WORDS)
def test_any_word_is_a_reference_or_one_coded_problem(bench: Bench, ref: str) -> None:
    with being_in(bench.root):
        try:
            found = resolve_reference(ref, workspace=bench.workspace, locate=locate_nothing)
        except LuthierError as error:
            (problem,) = error.problems
            assert problem.fix
            assert problem.what
            return
    assert isinstance(found, Reference)


@settings(max_examples=50)
@given(first=WORDS, second=WORDS)
def test_a_pair_is_refused_by_its_words_whatever_their_order(bench: Bench, first: str, second: str) -> None:
    """Who comes first decides what is said, never whether something is."""

    def is_refused(one: str, other: str) -> bool:
        try:
            resolve_pair(one, other, workspace=bench.workspace, locate=locate_nothing)
        except LuthierError:
            return True
        return False

    with being_in(bench.root):
        assert is_refused(first, second) == is_refused(second, first)


@settings(max_examples=60)
@given(num_digits=st.integers(0, 64), changed=st.integers(0, 11))
def test_digits_name_a_run_when_there_are_four_and_all_are_its_own(bench: Bench, num_digits: int, changed: int) -> None:
    execution = bench.workspace.executions.find("", stage="train")[0]
    digits = execution.cache_key[:num_digits]
    other = digits[:changed] + ("0" if digits[changed : changed + 1] != "0" else "1") + digits[changed + 1 :]

    def find(wanted: str) -> str | None:
        try:
            return resolve_reference(f"run:{wanted}", workspace=bench.workspace, locate=Path).record
        except LuthierError:
            return None

    assert (find(digits) == execution.record) == (num_digits >= 4)
    if changed < num_digits:
        assert find(other) is None
    assert find(digits.upper()) == (execution.record if digits.isdigit() and num_digits >= 4 else None)


VALUES = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2) | st.lists(st.integers(0, 2), max_size=2)
)
SECTIONS = st.dictionaries(st.sampled_from(["epochs", "seed", "rows"]), VALUES, max_size=3)
PARTS = st.builds(
    KeyParts,
    stage=st.sampled_from(["data", "train"]),
    version=st.integers(1, 3),
    sections=st.dictionaries(st.sampled_from(["data", "train"]), SECTIONS, max_size=2),
    inputs=st.dictionaries(st.sampled_from(["data", "model"]), st.sampled_from(["d1", "d2"]), max_size=2),
    seed=st.integers(0, 2),
)


@settings(max_examples=200)
@given(first=PARTS, second=PARTS)
def test_keys_are_equal_when_all_parts_are_and_only_then(first: KeyParts, second: KeyParts) -> None:
    """Python's own equality takes True for 1; JSON's does not, so types count here."""
    is_same = repr_sorted(first) == repr_sorted(second)

    assert (compute_cache_key(first, load=load_any) == compute_cache_key(second, load=load_any)) == is_same


@given(parts=PARTS)
def test_a_key_is_a_digest_and_the_same_each_time(parts: KeyParts) -> None:
    key = compute_cache_key(parts, load=load_any)

    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")
    assert key == compute_cache_key(parts, load=load_any)


def repr_sorted(parts: KeyParts) -> str:
    """Write the parts with mappings in order of their keys."""
    sections = sorted((name, sorted(section.items())) for name, section in parts.sections.items())
    return repr((parts.stage, parts.version, sections, sorted(parts.inputs.items()), parts.seed))
