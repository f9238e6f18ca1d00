"""A record whose folder is gone is no result: its stage runs again, and what it makes has the same name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from luthier.lifecycle.evidence import describe
from luthier.lifecycle.result import show_parity
from tests.fixtures.example_records import make_examples
from tests.fixtures.fake_stages import Bench, FakeStage, make_run, open_quick_folder


class VanishingStage(FakeStage):
    """Makes a Run, and on reuse says whether what it names is still there."""

    is_there = True

    def refresh(self, record: Any, section: Any, ctx: Any) -> Any:
        return record if self.is_there else None


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        bench = Bench(folder)
        bench.modules["train"] = VanishingStage(make_run)
        yield bench


def test_a_record_whose_folder_is_gone_is_made_again_once(bench: Bench) -> None:
    stage = bench.modules["train"]
    first = bench.run("train").find("train")
    assert bench.reused("train")["train"]

    stage.is_there = False
    again = bench.run("train").find("train")

    assert not again.reused
    assert again.digest == first.digest
    assert stage.num_runs == 2
    stage.is_there = True
    assert bench.reused("train")["train"]
    assert stage.num_runs == 2


def test_a_release_is_told_by_its_exports_and_its_certificate() -> None:
    release = make_examples()["release"]

    assert describe(release) == "tiny: adapter, merged; parity PASS (merged; 4 probes of 8 asked for)"
    shown = show_parity(release)
    assert shown["noise_floor"] == 1.5e-6
    assert shown["steps"][0]["measured"]["max_delta"] == 2.5e-6
