"""Lineage and cards: from any record back to its files, under every name by which a person may call it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from luthier.foundation.core.errors import PolicyDenied, RecipeError, StoreError
from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.schema.dataset import SourceRead
from luthier.foundation.schema.release import Certificate, Release, ReleaseIdentity, ReleaseWitness
from luthier.foundation.store.kinds import KINDS, Kind
from luthier.lifecycle.approval import approve
from luthier.lifecycle.cards import show_card
from luthier.lifecycle.lineage import find_record, trace
from tests.fixtures.fake_stages import Bench, open_quick_folder

ALL = ("data", "model", "plan", "train", "evaluate")
CARD = b"# a card\n"


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Five stages; the data says which file it read."""
    with open_quick_folder() as folder:
        bench = Bench(folder)
        make = bench.modules["data"].make

        def make_with_source(section, inputs, ctx):
            record = make(section, inputs, ctx)
            digest = sha256_bytes((ctx.base_folder / "rows.txt").read_bytes())
            source = SourceRead(digest=digest, format="jsonl", form="text", num_rows=3, license="MIT")
            return record.model_copy(update={"identity": record.identity.model_copy(update={"sources": (source,)})})

        bench.modules["data"].make = make_with_source
        yield bench


@pytest.fixture
def _releases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store know releases, whether or not the deploy stage is there."""
    monkeypatch.setitem(KINDS, Release.KIND, Kind(Release))


def put_release(bench: Bench, name: str, number: int) -> str:
    """Store a release of the bench's report, and its card."""
    digests = {stage.stage: stage.digest for stage in bench.run().stages}
    none = sha256_bytes(b"")
    identity = ReleaseIdentity(
        parents=digests,
        name=name,
        base="fake",
        base_digest=none,
        exports=("adapter",),
        files={"card.md": sha256_bytes(CARD), "number": sha256_bytes(str(number).encode())},
        certificate=Certificate(verdict="PASS", num_asked=1, num_probes=1, probes=none, steps=()),
        verdict="PASS",
    )
    release = Release(identity=identity, witness=ReleaseWitness(folder="x", audit_head=bench.workspace.audit.head()))
    folder = bench.workspace.folder / "releases" / release.digest
    folder.mkdir(parents=True)
    (folder / "card.md").write_bytes(CARD)
    return bench.workspace.records.put(release, stage="deploy", cache_key="k" * 64)


def test_a_lineage_goes_from_the_report_to_the_file_with_every_arrow(bench: Bench):
    stages = {stage.stage: stage for stage in bench.run().stages}
    nodes = trace(bench.workspace, stages["evaluate"].digest)
    assert set(nodes) == {stage.digest for stage in stages.values()}
    assert next(iter(nodes)) == stages["evaluate"].digest
    arrows = {(child, name, parent) for child, node in nodes.items() for name, parent in node.parents.items()}
    assert arrows == {
        (stages[child].digest, name, stages[name].digest)
        for child, names in {
            "plan": ("data", "model"),
            "train": ("data", "model", "plan"),
            "evaluate": ("data", "model", "plan", "train"),
        }.items()
        for name in names
    }
    (source,) = nodes[stages["data"].digest].sources
    assert (source.path, source.sha256) == ("rows.txt", sha256_bytes((bench.root / "rows.txt").read_bytes()))
    assert (source.num_rows, source.license) == (3, "MIT")
    assert list(nodes[stages["evaluate"].digest].parents) == ["train", "plan", "model", "data"], "later stages first"
    assert json.loads(json.dumps([node.to_json() for node in nodes.values()]))[0]["kind"] == "report"


def test_a_lineage_tells_who_approved_and_what_each_record_found(bench: Bench):
    report = bench.run().report.digest
    approve(bench.workspace, report, by="Ada", reason="fit", is_override=True)
    node = trace(bench.workspace, report)[report]
    assert [(one.by, one.reason, one.is_override) for one in node.approvals] == [("Ada", "fit", True)]
    assert (node.evidence, node.stage) == ("INCONCLUSIVE", "evaluate")


def test_a_lineage_through_a_changed_record_is_refused(bench: Bench):
    result = bench.run()
    with bench.workspace.database.write() as connection:
        connection.exec_driver_sql("UPDATE records SET identity = replace(identity, 'fake', 'real')")
    with pytest.raises(StoreError, match="E-STO-005"):
        trace(bench.workspace, result.report.digest)


def test_a_record_is_found_by_digest_a_run_by_its_id(bench: Bench):
    result = bench.run()
    workspace, run = bench.workspace, result.find("train")
    for stage in result.stages:
        assert find_record(workspace, stage.digest) == find_record(workspace, stage.digest[:8]) == stage.digest
    for text in (result.run_id, f"run:{result.run_id}"):
        assert find_record(workspace, text) == run.digest


@pytest.mark.usefixtures("_releases")
def test_a_release_is_found_by_name_by_name_and_digest_and_by_digest_and_a_name_means_the_newest(bench: Bench):
    first, second = put_release(bench, "desk", 1), put_release(bench, "desk", 2)
    other = put_release(bench, "other", 3)
    workspace = bench.workspace
    assert find_record(workspace, "desk") == find_record(workspace, "release:desk") == second
    assert find_record(workspace, f"desk@{first[:8]}") == find_record(workspace, first[:10]) == first
    assert find_record(workspace, "other") == other
    for text in (f"other@{first[:8]}", "desk@", "desk@1234567", "desk@00000000"):
        with pytest.raises(RecipeError, match="E-STO-004"):
            find_record(workspace, text)
    assert trace(workspace, second)[second].parents["evaluate"] == bench.run().report.digest


@pytest.mark.parametrize("text", ["", "run:", "0" * 64, "@", "release:", "../../etc", "x" * 5000, "\x1b[2J"])
def test_a_name_that_means_nothing_here_is_refused_with_what_there_is(bench: Bench, text: str):
    result = bench.run()
    with pytest.raises(RecipeError) as caught:
        find_record(bench.workspace, text)
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == ("E-STO-004", 2)
    assert f"report {result.report.digest[:12]}" in problem.allowed
    assert problem.got
    assert "\x1b" not in str(caught.value)


@pytest.mark.usefixtures("_releases")
def test_a_releases_card_is_the_one_that_was_sealed_or_none(bench: Bench):
    digest = put_release(bench, "desk", 1)
    assert show_card(bench.workspace, "desk") == CARD.decode()
    place = bench.workspace.folder / "releases" / digest / "card.md"
    for damage in (lambda: place.write_text("# another card\n"), place.unlink):
        damage()
        with pytest.raises(PolicyDenied) as caught:
            show_card(bench.workspace, "desk")
        problem = caught.value.problems[0]
        assert (problem.code, problem.origin) == ("E-GOV-006", str(place))
        assert problem.fix == f"luthier release verify {digest[:12]}"
        assert problem.got
        assert problem.allowed


def test_a_report_has_a_card_from_its_own_lineage_and_its_recipes_name(bench: Bench):
    bench.change("govern", jurisdiction="Neverland")
    result = bench.run()
    text = show_card(bench.workspace, result.report.digest)
    assert "# bench\n" in text
    assert "Neverland" in text
    for stage in result.stages:
        assert f"`{stage.digest}`" in text
    (bench.workspace.folder / "runs" / result.run_id / "recipe.yaml").unlink()
    assert f"# run {result.find('train').digest[:12]}\n" in show_card(bench.workspace, result.report.digest)


def test_other_records_have_no_card(bench: Bench):
    with pytest.raises(RecipeError) as caught:
        show_card(bench.workspace, bench.run("plan").find("plan").digest)
    assert caught.value.problems[0].code == "E-GOV-004"
