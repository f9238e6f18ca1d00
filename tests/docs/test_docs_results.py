"""Published results: the page says what the committed Reports say, and no text of a row is ever published."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from luthier.foundation.schema.dataset import (
    DatasetIdentity,
    DatasetVersion,
    DatasetWitness,
    RowSet,
    SourceRead,
    WaterfallStep,
)
from luthier.foundation.schema.model import LicenceVerdict, ModelChoice, ModelIdentity, ModelShape, ModelWitness
from luthier.foundation.schema.plan import Plan, PlanIdentity, PlanWitness
from luthier.foundation.schema.report import Difference, GateVerdict, MetricValue, Report, ReportIdentity, ReportWitness
from luthier.foundation.schema.run import Run, RunIdentity, RunWitness
from luthier.foundation.store.workspace import Workspace

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "benchmarks" / "results" / "reports").glob("*.json"))
QUESTION = "my card was swallowed by the machine on the corner"
ANSWER = "It seems that the machine has taken your card away."
MEANS = ("exact_match", "tool_call", "accuracy", "recall", "json_validity", "pair_accuracy", "pair_likelihood")


@pytest.fixture(scope="module")
def results() -> Iterator[ModuleType]:
    """Import scripts/results.py as running it would."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import results

        yield results
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture
def export(results: ModuleType) -> ModuleType:
    return sys.modules["results_export"]


@pytest.fixture
def page(results: ModuleType) -> ModuleType:
    return sys.modules["results_page"]


# What is committed.


def test_the_page_is_current_with_the_committed_reports(results: ModuleType) -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.render(), "run `make results`"


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_committed_report_holds_only_allowed_keys_and_no_text(path: Path, export: ModuleType) -> None:
    """Read by hand, without the classes that wrote it: each answer has three keys and single words only."""
    entry = json.loads(path.read_text(encoding="utf-8"))

    assert export.dump_entry(export.read_entry(path)) == path.read_text(encoding="utf-8")
    for answer in entry["answers"]:
        assert sorted(answer) == ["id", "scores", "system"]
        assert re.fullmatch(r"[!-~]{1,120}", answer["id"])
        assert all(isinstance(score, int | float) for score in answer["scores"].values())
    assert entry["report"]["witness"]["html"] == ""


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_committed_mean_is_the_mean_of_the_committed_scores(path: Path) -> None:
    entry = json.loads(path.read_text(encoding="utf-8"))
    checked = 0
    for metric in entry["report"]["identity"]["metrics"]:
        if metric["metric"].partition(".")[2] not in MEANS:
            continue
        asked = [a["scores"][metric["metric"]] for a in entry["answers"] if a["system"] == metric["system"]
                 and metric["metric"] in a["scores"]]  # fmt: skip
        assert len(asked) == metric["n"]
        assert sum(asked) / len(asked) == pytest.approx(metric["value"], abs=1e-9)
        checked += 1

    assert checked


def test_published_figures_are_ratios_and_belong_to_recipes(page: ModuleType) -> None:
    published = page.read_published(ROOT / "scripts" / "published.yaml")

    assert set(published) == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    for one in published.values():
        for figure in (*one.figures, *one.neighbours):
            assert 0 <= figure.value <= 1, figure.system
            assert figure.split
            assert figure.setting
            assert figure.read
        assert all(figure.ours for figure in one.figures)
        assert not any(figure.ours for figure in one.neighbours)


# A workspace made by hand: two questions, one right answer of the tuned model.


def put(workspace: Workspace, record: Any, stage: str) -> str:
    return workspace.records.put(record, stage=stage, cache_key="0" * 64)


def make_workspace(folder: Path, *, row_id: str = "row-1", gate_reason: str = "gain +0.5") -> Workspace:
    """Make a finished run of a recipe named ``tiny`` as the stages would leave it."""
    workspace = Workspace.open(folder)
    blobs = workspace.blobs
    nothing = blobs.put(b"")
    rows = blobs.put_lines([{"id": row_id, "messages": [{"role": "user", "content": QUESTION}]}])
    data = DatasetVersion(
        identity=DatasetIdentity(
            sources=(SourceRead(digest=nothing, format="jsonl", form="messages", num_rows=9, license="CC-BY-4.0"),),
            waterfall=(WaterfallStep(operator="dedupe", rows_in=9, rows_out=7, dropped=2, reasons={"duplicate": 2}),),
            splits={"train": RowSet(blob=nothing, num_rows=7), "dev": RowSet(blob=rows, num_rows=2)},
            ledger=nothing,
        ),
        witness=DatasetWitness(paths=("/home/somebody/rows.jsonl",), seconds=1.0),
    )
    shape = ModelShape(
        architecture="Llama", num_parameters=2_000_000, vocabulary=9, width=8, num_layers=1, num_heads=1,
        num_key_value_heads=1, head_width=8, feed_forward=8, max_positions=64, is_tied=True,
    )  # fmt: skip
    model = ModelChoice(
        identity=ModelIdentity(
            name="tiny-base", weights="a" * 64, shape=shape, chat_template=nothing, tool_template="own", end_token="e",  # noqa: S106
            licence=LicenceVerdict(licence="Apache-2.0", verdict="allowed", reason="kept"),
        ),
        witness=ModelWitness(path="/home/somebody/base", seconds=2.0),
    )  # fmt: skip
    parents = {"data": put(workspace, data, "data"), "model": put(workspace, model, "model")}
    parents["plan"] = put(workspace, make_plan(parents, nothing), "plan")
    run = Run(
        identity=RunIdentity(
            parents=parents, weights="b" * 64, files={}, method={"type": "lora"}, base="a" * 64, probe_scores=nothing,
            num_steps=3, best_step=3, train_loss=0.5,
        ),
        witness=RunWitness(run_id="abc", seconds=180.0, rate_tokens_per_second=1234.0, peak_memory_bytes=2**31),
    )  # fmt: skip
    parents["train"] = put(workspace, run, "train")
    write_run_folder(workspace)
    put(workspace, make_report(workspace, parents, row_id, gate_reason), "evaluate")
    return workspace


def make_plan(parents: dict[str, str], nothing: str) -> Plan:
    return Plan(
        identity=PlanIdentity(
            parents=parents, launcher="local", backend="luthier", precision="fp32", seed=0, num_examples=7,
            examples=nothing, max_length=64, too_long="refuse", batch_tokens=64, pack_tokens=64, epochs=1, num_steps=3,
            warmup_steps=0, learning_rate=0.001, weight_decay=0, max_grad_norm=1, gradient_checkpointing=False,
            checkpoint_every=1, evaluate_every=0, method={"type": "lora", "rank": 16}, objective={"type": "sft"},
            probes=nothing,
        ),
        witness=PlanWitness(hardware={"cores": 2, "device": "cpu"}, num_tokens=420, num_trained_tokens=42),
    )  # fmt: skip


def write_run_folder(workspace: Workspace) -> None:
    folder = workspace.folder / "runs" / "abc"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"name": "tiny", "train": {"epochs": 1}}), encoding="utf-8")
    origins = {"name": "recipes/tiny.yaml line 1", "train.epochs": "--set"}
    (folder / "origins.json").write_text(json.dumps(origins), encoding="utf-8")
    environment = {"python": "3.11.7", "host": "secret-host", "packages": {"torch": "2.13.0", "trl": None}}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")


def make_report(workspace: Workspace, parents: dict[str, str], row_id: str, reason: str) -> Report:
    metric = "task.exact_match"
    questions = [
        {"suite": "task", "id": f"{row_id}#0", "reference": {"role": "assistant", "content": "card_swallowed"}}
    ]
    answers = [
        {"suite": "task", "id": f"{row_id}#0", "system": system, "answer": text, "scores": {metric: score}}
        for system, text, score in (("base", ANSWER, 0.0), ("tuned", "card_swallowed", 1.0))
    ]
    value = {"confidence": 0.95, "n": 1, "clusters": 1}
    return Report(
        identity=ReportIdentity(
            parents=parents,
            systems=("base", "tuned"),
            suites=({"name": "task", "on": "dev", "max_questions": 1},),
            metrics=(
                MetricValue(metric=metric, system="base", value=0, interval=(0, 0.79), method="wilson", **value),
                MetricValue(metric=metric, system="tuned", value=1, interval=(0.21, 1), method="wilson", **value),
            ),
            differences=(
                Difference(metric=metric, first="base", second="tuned", value=1, interval=(-0.5, 1), p=0.5, test="flip",
                           discordant=1, detectable=0.9, is_rough=True, **value),
            ),
            gates=(
                GateVerdict(metric=metric, against="base", rule="above", verdict="INCONCLUSIVE", value=1, bound=0, n=1,
                            reason=reason),
            ),
            verdict="INCONCLUSIVE",
            questions=workspace.blobs.put_lines(questions),
            answers=workspace.blobs.put_lines(answers),
        ),
        witness=ReportWitness(seconds=60.0, peak_memory_bytes=2**30, num_answers=2, html="/home/somebody/report.html"),
    )  # fmt: skip


def test_an_export_has_scores_and_figures_and_nothing_of_the_person_or_the_rows(
    export: ModuleType, tmp_path: Path
) -> None:
    make_workspace(tmp_path / "work")

    entry = export.export_report(tmp_path / "work", name="tiny", checkout=tmp_path)
    path = export.write_entry(entry, tmp_path / "reports")
    text = path.read_text(encoding="utf-8")

    assert export.read_entry(path) == entry
    assert [answer.scores for answer in entry.answers] == [{"task.exact_match": 0.0}, {"task.exact_match": 1.0}]
    assert entry.command == "luthier run recipes/tiny.yaml --set train.epochs=1"
    assert (entry.commit, entry.is_dirty) == (None, True)
    for secret in (QUESTION, ANSWER, "card_swallowed", "somebody", "secret-host"):
        assert secret not in text


def test_a_row_id_that_could_be_a_text_is_refused_and_not_shown(export: ModuleType, tmp_path: Path) -> None:
    make_workspace(tmp_path, row_id="my card is gone")

    with pytest.raises(export.ResultsError, match=r"id could hold a text") as caught:
        export.export_report(tmp_path, name="tiny", checkout=tmp_path)

    assert "my card" not in str(caught.value)


@pytest.mark.parametrize("text", [QUESTION, ANSWER])
def test_a_text_anywhere_in_the_file_is_refused(text: str, export: ModuleType, tmp_path: Path) -> None:
    make_workspace(tmp_path, gate_reason=f"gain +0.5, as in {text}")

    with pytest.raises(export.ResultsError, match="1 texts of rows or answers"):
        export.export_report(tmp_path, name="tiny", checkout=tmp_path)


def test_only_a_report_of_the_named_recipe_is_taken(export: ModuleType, tmp_path: Path) -> None:
    make_workspace(tmp_path)

    with pytest.raises(export.ResultsError, match=r"not a Report of 'other'; it has Reports of: tiny"):
        export.export_report(tmp_path, name="other", checkout=tmp_path)
    with pytest.raises(export.ResultsError, match="no workspace"):
        export.export_report(tmp_path / "nowhere", name="tiny", checkout=tmp_path)


@pytest.fixture
def written(export: ModuleType, tmp_path: Path) -> Path:
    make_workspace(tmp_path / "work")
    entry = export.export_report(tmp_path / "work", name=None, checkout=tmp_path)
    return export.write_entry(entry, tmp_path / "reports")


@pytest.mark.parametrize("place", [("answers", 0), ("run",), ("report", "identity"), ()])
def test_a_key_that_is_not_named_is_refused(place: tuple[Any, ...], written: Path, export: ModuleType) -> None:
    entry = json.loads(written.read_text(encoding="utf-8"))
    part = entry
    for step in place:
        part = part[step]
    part["answer"] = ANSWER
    written.write_text(json.dumps(entry), encoding="utf-8")

    with pytest.raises(export.ResultsError, match="may not be published"):
        export.read_entry(written)


def test_a_number_that_was_changed_by_hand_is_noticed(written: Path, export: ModuleType) -> None:
    entry = json.loads(written.read_text(encoding="utf-8"))
    entry["report"]["identity"]["metrics"][0]["value"] = 0.99
    written.write_text(json.dumps(entry), encoding="utf-8")

    with pytest.raises(export.ResultsError, match="digest differs"):
        export.read_entry(written)


def make_published(page: ModuleType, **changes: Any) -> dict[str, Any]:
    kept = page.PublishedRecipe(title="Tiny", asked="Which?", rows="Few.", searched="all", why="size")
    return {"tiny": kept.model_copy(update=changes)}


def test_a_section_says_value_interval_rows_time_memory_and_command(
    written: Path, export: ModuleType, page: ModuleType
) -> None:
    text = page.render_page([export.read_entry(written)], make_published(page))

    for line in (
        "## Tiny",
        "luthier run recipes/tiny.yaml --set train.epochs=1",
        "| task.exact_match | tuned | 1.0000 | 0.2100 to 1.0000 | 1 |",
        "| task.exact_match | tuned | base | +1.0000 | -0.5000 to 1.0000 (rough) | 0.5 |  | 1 |",
        "| task.exact_match | above base | INCONCLUSIVE | gain +0.5 |",
        "| training | 3.0 min, 1,234 tokens/s |",
        "| peak memory | 2.00 GiB training, 1.00 GiB evaluating |",
        "| trained | 7 rows, 420 tokens (42 trained), epochs 1, steps 3 |",
        "None found.",
    ):
        assert line in text


def test_a_published_figure_stands_beside_ours_with_the_difference_also_where_ours_is_worse(
    written: Path, export: ModuleType, page: ModuleType
) -> None:
    cited = {"metric": "accuracy", "split": "test", "setting": "few rows", "source": "a paper", "read": "table"}
    figures = tuple(
        page.PublishedFigure(
            system="theirs", value=0.75, ours={"metric": "task.exact_match", "system": system}, **cited
        )
        for system in ("base", "tuned", "absent")
    )

    text = page.render_page([export.read_entry(written)], make_published(page, figures=figures))

    assert "| theirs | accuracy | 0.7500 | 0.0000 (base) | -0.7500 | test |" in text
    assert "| theirs | accuracy | 0.7500 | 1.0000 (tuned) | +0.2500 | test |" in text
    assert "| theirs | accuracy | 0.7500 | none |  | test |" in text


def test_repeat_says_in_one_sentence_what_is_missing(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LUTHIER_DATA", raising=False)

    assert results.main(["repeat", "--name", "banking77", "--workspace", str(tmp_path)]) == 2
    assert "LUTHIER_DATA is not set" in capsys.readouterr().err
    assert results.main(["repeat", "--name", "nothing", "--workspace", str(tmp_path)]) == 2
    names = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    assert f"there are: {', '.join(names)}.\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
