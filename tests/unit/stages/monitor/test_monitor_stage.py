"""Stage 7: a release's reference from a Report, the watch over it, dashboards that name only metrics there are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from luthier.foundation.core.clock import SystemClock
from luthier.foundation.core.errors import DataError, RecipeError
from luthier.foundation.core.files import REAL, FileSystem
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.schema.dataset import RowSet
from luthier.foundation.schema.monitoring import MonitorReference
from luthier.foundation.schema.release import Certificate, Release, ReleaseIdentity, ReleaseWitness
from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.foundation.schema.sections import MonitorSection
from luthier.foundation.schema.telemetry import RequestFacts
from luthier.foundation.store.workspace import Workspace
from luthier.stages.monitor.dashboards import DASHBOARD_NAME, RULES_NAME, make_dashboards, render_drift_metrics
from luthier.stages.monitor.reference import from_bytes, to_bytes
from luthier.stages.monitor.stage import run
from luthier.stages.monitor.telemetry_metrics import RequestMetrics, ServerCounts
from tests.fixtures.drift_traffic import CARDS, PARCELS, write_base
from tests.fixtures.example_records import (
    make_dataset_example,
    make_model_example,
    make_plan_example,
    make_report_example,
    make_run_example,
)
from tests.fixtures.text_tokenizers import CHATML


@dataclass
class StageFolder:
    """What the stage uses of its context, over a real store."""

    folder: Path
    seed: int = 0
    fs: FileSystem = REAL
    clock: Any = field(default_factory=SystemClock)
    progress: Any = field(default_factory=SilentProgress)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.blobs: Any = Workspace.open(self.folder).blobs


def make_inputs(ctx: StageFolder, base: Path, *, num_questions: int = 80) -> dict[str, Any]:
    """Return records whose blobs hold questions of two topics and the answers of two systems."""
    random = np.random.default_rng(0)
    rows, answers = [], []
    for number in range(num_questions):
        words = random.choice(PARCELS if number % 4 == 0 else CARDS, size=int(random.integers(4, 12)))
        question = Message(role="user", content=" ".join(words))
        reply = Message(role="assistant", content="ok " * int(random.integers(1, 6)))
        rows.append(Row(id=f"row-{number}", messages=(question, reply), origin=Origin(file="t.jsonl", line=number + 1)))
        for system in ("tuned", "base"):
            line = {"suite": "task", "id": f"row-{number}#0", "system": system, "scores": {}}
            line |= {"mean_logprob": -float(random.gamma(2.0)) if system == "tuned" else -99.0}
            answers.append({**line, "answer": reply.text if system == "tuned" else "x" * 99, "finish": "stop"})
    answers.append(
        {"suite": "forgetting", "id": "p", "system": "tuned", "answer": "", "finish": "weighed", "scores": {}}
    )
    data = make_dataset_example()
    splits = {"test": RowSet(blob=ctx.blobs.put_rows(rows), num_rows=len(rows))}
    data = data.model_copy(update={"identity": data.identity.model_copy(update={"splits": splits})})
    model = make_model_example()
    template = ctx.blobs.put(CHATML.encode())
    model = model.model_copy(
        update={
            "identity": model.identity.model_copy(update={"chat_template": template}),
            "witness": model.witness.model_copy(update={"path": str(base)}),
        }
    )
    train = make_run_example(data, model, make_plan_example(data, model))
    report = make_report_example(train)
    report = report.model_copy(
        update={"identity": report.identity.model_copy(update={"answers": ctx.blobs.put_lines(answers)})}
    )
    return {"data": data, "model": model, "train": train, "evaluate": report}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def make_reference(ctx: StageFolder, base: Path, **settings: Any) -> tuple[MonitorReference, dict[str, Any]]:
    inputs = make_inputs(ctx, base, **settings)
    return run(MonitorSection(mode="reference"), inputs, ctx), inputs


def make_release(files: dict[str, str], folder: Path) -> Release:
    certificate = Certificate(verdict="PASS", num_asked=1, num_probes=1, probes="0" * 64, steps=())
    identity = ReleaseIdentity(
        name="desk", base="tiny", base_digest="0" * 64, exports=(), files=files, certificate=certificate, verdict="PASS"
    )
    return Release(identity=identity, witness=ReleaseWitness(folder=str(folder)))


def test_the_reference_is_made_from_questions_and_tuned_answers_and_holds_no_text(base: Path, tmp_path: Path) -> None:
    ctx = StageFolder(tmp_path)
    record, inputs = make_reference(ctx, base)
    identity = record.identity
    stored = ctx.blobs.get(identity.reference)

    assert {signal.name: signal.num_rows for signal in identity.signals} == {
        "topics": 80,
        "text_length": 80,
        "tokens_per_character": 80,
        "prompt_tokens": 80,
        "completion_tokens": 80,
        "logprob": 80,
    }
    assert identity.absent["confidence"] == "no row has the column confidence"
    assert (identity.mode, identity.base, identity.base_digest) == (
        *("reference", "tiny"),
        inputs["model"].identity.weights,
    )
    assert {signal.num_dimensions for signal in identity.signals if signal.name == "topics"} == {8}
    assert identity.parents == {name: record.digest for name, record in inputs.items()}
    for word in ("account", "balance", "parcel", "arrived"):
        assert word.encode() not in stored
    answered = from_bytes(stored, origin="reference.json").signals
    lengths = next(signal.state["ordered"] for signal in answered if signal.name == "completion_tokens")
    assert lengths.max() < 99, "the base's answers are not the release's"
    logprobs = next(signal.state["ordered"] for signal in answered if signal.name == "logprob")
    assert -99 < logprobs.min() < logprobs.max() < 0


def test_the_same_report_gives_the_same_reference_and_another_seed_another(base: Path, tmp_path: Path) -> None:
    digests = [
        make_reference(StageFolder(tmp_path / str(seed), seed=seed % 2), base)[0].identity.reference
        for seed in (0, 2, 1)
    ]

    assert digests[0] == digests[1] != digests[2]


def test_without_the_data_answers_alone_are_watched(base: Path, tmp_path: Path) -> None:
    ctx = StageFolder(tmp_path)
    inputs = make_inputs(ctx, base)
    del inputs["data"]
    record = run(MonitorSection(mode="reference"), inputs, ctx)

    assert [signal.name for signal in record.identity.signals] == ["logprob", "completion_tokens"]
    assert record.identity.absent["topics"] == "no row has a text"


def test_a_report_of_few_questions_watches_nothing_and_stops_no_release(base: Path, tmp_path: Path) -> None:
    record, _ = make_reference(StageFolder(tmp_path), base, num_questions=10)

    assert record.identity.signals == ()
    assert record.identity.absent["topics"] == "only 10 rows of the reference have it; 50 are needed"


def test_the_watch_sets_the_alarms_of_the_releases_reference_at_the_recipes_rate(base: Path, tmp_path: Path) -> None:
    ctx = StageFolder(tmp_path)
    made, _ = make_reference(ctx, base)
    release = make_release({"reference.json": made.identity.reference}, tmp_path)
    loud = run(MonitorSection(false_alarm_rate=0.04), {"deploy": release}, ctx).identity
    calm = run(MonitorSection(false_alarm_rate=0.001), {"deploy": release}, ctx).identity

    assert loud.mode == "watch"
    assert loud.reference == made.identity.reference
    tails = {one.name: one.tail for one in from_bytes(ctx.blobs.get(loud.reference), origin="").signals}
    for before, after in zip(loud.signals, calm.signals, strict=True):
        assert before.threshold < after.threshold
        assert before.threshold == pytest.approx(tails[before.name].threshold(0.04 / 6)), "six signals share the rate"
    assert set(loud.dashboards) == {DASHBOARD_NAME, RULES_NAME}
    for name, digest in loud.dashboards.items():
        assert ctx.blobs.get(digest) == (ctx.folder / name).read_bytes()


def test_a_reference_whose_blob_is_gone_is_read_from_the_releases_folder(base: Path, tmp_path: Path) -> None:
    ctx = StageFolder(tmp_path / "first")
    made, _ = make_reference(ctx, base)
    (tmp_path / "reference.json").write_bytes(ctx.blobs.get(made.identity.reference))
    release = make_release({"reference.json": made.identity.reference}, tmp_path)

    again = run(MonitorSection(), {"deploy": release}, StageFolder(tmp_path / "second"))
    assert again.identity.reference == made.identity.reference


def test_a_release_without_a_reference_and_a_damaged_one_are_refused(base: Path, tmp_path: Path) -> None:
    ctx = StageFolder(tmp_path)
    made, _ = make_reference(ctx, base)
    whole = json.loads(ctx.blobs.get(made.identity.reference))
    for damaged in (
        b"{",
        b"[]",
        json.dumps(whole | {"version": 2}).encode(),
        json.dumps({key: value for key, value in whole.items() if key != "signals"}).encode(),
        json.dumps(
            whole | {"signals": [whole["signals"][0] | {"means": {"dtype": "|O", "shape": [1], "data": ""}}]}
        ).encode(),
    ):
        release = make_release({"reference.json": ctx.blobs.put(damaged)}, tmp_path)
        with pytest.raises(DataError) as caught:
            run(MonitorSection(), {"deploy": release}, ctx)
        assert (caught.value.code, caught.value.problems[0].origin) == ("E-MON-007", "reference.json")
    with pytest.raises(DataError) as missing:
        run(MonitorSection(), {"deploy": make_release({}, tmp_path)}, ctx)
    problem = missing.value.problems[0]
    assert (problem.code, problem.origin) == ("E-MON-007", "desk")
    assert problem.fix
    assert to_bytes(from_bytes(json.dumps(whole).encode(), origin="")) == ctx.blobs.get(made.identity.reference)


def test_the_mode_that_is_deploys_own_is_refused_in_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        run(MonitorSection(mode="reference"), {"deploy": make_release({}, tmp_path)}, StageFolder(tmp_path))
    problem = caught.value.problems[0]
    assert (problem.code, problem.field, problem.fix) == ("E-REC-008", "monitor.mode", "--set monitor.mode=watch")


def test_dashboards_and_rules_ask_only_for_metrics_that_are_written() -> None:
    metrics = RequestMetrics(ServerCounts(releases=lambda: {"desk": "d" * 64}))
    facts = RequestFacts(
        time=0.0, request_id="r", response_id="c", model="desk", release="d" * 64, status=200, seconds=1.0
    )
    metrics.count_request(facts.model_copy(update={"first_token_seconds": 0.1, "prompt_tokens": 3}))
    signal = {"signal": "topics", "statistic": 2.0, "threshold": 1.0, "state": "drift"}
    written = metrics.render()[0].decode() + render_drift_metrics("desk", [signal])
    names = set(re.findall(r"^(luthier_\w+)\{", written, re.MULTILINE))
    files = make_dashboards("desk")
    rules = yaml.safe_load(files[RULES_NAME])["groups"][0]["rules"]
    panels = json.loads(files[DASHBOARD_NAME])["panels"]
    queries = [rule["expr"] for rule in rules] + [target["expr"] for panel in panels for target in panel["targets"]]

    assert len(panels) == 6
    for query in queries:
        asked = set(re.findall(r"luthier_\w+", query))
        assert asked
        assert asked <= names
        assert 'model="desk"' in query
