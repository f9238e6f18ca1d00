"""The whole stage on a tiny model with a tiny adapter: records in, Report and page out, resumable."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.foundation import registry
from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.dataset import RowSet, WaterfallStep
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import EvaluateSection
from luthier.instruments.engine.load import load_model
from luthier.stages.evaluate import stage
from luthier.stages.evaluate.harness import ANSWERS_NAME
from tests.fixtures.example_records import change, make_examples
from tests.fixtures.tiny_models import CHAT_TEMPLATE, build_tiny
from tests.fixtures.train_jobs import FolderContext

BASE_DIGEST = "b" * 64
HOSTILE = "<script>alert(1)</script> & 'quotes'"


def _row(index: int, answer: str) -> Row:
    messages = (
        Message(role="system", content="you are a helpful assistant of a bank"),
        Message(role="user", content=f"card {index} {HOSTILE}"),
        Message(role="assistant", content=answer),
    )
    return Row(id=f"r{index}", messages=messages)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny("llama", tmp_path_factory.mktemp("base"), seed=1)


def _make_adapter(folder: Path, base: Path) -> None:
    folder.mkdir(parents=True)
    loaded = load_model(base)
    loaded.base_digest = BASE_DIGEST
    method = registry.load_runtime("methods", "lora")
    config = registry.load_config("methods", "lora").model_validate({"rank": 2})
    parameters = method.build(loaded, config, seed=0)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3)
    method.save(loaded, folder)


def _inputs(ctx: FolderContext, base: Path, rows: Sequence[Row]) -> dict[str, Any]:
    _make_adapter(ctx.folder / "trained", base)
    blobs = ctx.blobs
    split = RowSet(blob=blobs.put_rows(rows), num_rows=len(rows))
    step = WaterfallStep(operator="read", rows_in=9, rows_out=len(rows), dropped=1, reasons={"E-DAT-003": 1})
    splits = {"train": split, "test": split}
    identity = {"weights": BASE_DIGEST, "chat_template": blobs.put(CHAT_TEMPLATE.encode())}
    files = {path.name: blobs.put_file(path) for path in sorted((ctx.folder / "trained").iterdir())}
    curve = blobs.put_lines([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "validation_loss": 1.5}])
    made = make_examples()
    return {
        "data": change(made["dataset_version"], identity={"splits": splits, "waterfall": (step,)}),
        "model": change(made["model_choice"], identity=identity, witness={"path": str(base)}),
        "plan": change(made["plan"], identity={"precision": "fp32"}),
        "train": change(made["run"], identity={"files": files, "base": BASE_DIGEST}, witness={"metrics": curve}),
    }


def _section(**changes: Any) -> EvaluateSection:
    values: dict[str, Any] = {
        "suites": [
            {"type": "task", "options": {"metrics": ["exact_match", "token_f1"], "max_new_tokens": 6}},
            {"type": "forgetting", "options": {"passages": 5, "max_tokens": 10}},
        ],
        "systems": ["base", "base_told", "tuned"],
        "gates": [
            {"metric": "task.exact_match", "above": "base"},
            {"metric": "forgetting.bits_per_byte", "not_worse_than": "base", "margin": 0.02},
        ],
    }
    return EvaluateSection.model_validate(values | changes)


@pytest.fixture
def ctx(tmp_path: Path) -> FolderContext:
    folder = tmp_path / "work" / "key"
    folder.mkdir(parents=True)
    return FolderContext(folder)


def test_the_stage_reports_every_system_and_is_the_same_after_a_restart(ctx: FolderContext, model_folder: Path) -> None:
    inputs = _inputs(ctx, model_folder, [_row(i, f"answer {i % 3}") for i in range(6)])
    report = stage.run(_section(), inputs, ctx)
    identity = report.identity
    assert [(value.metric, value.system) for value in identity.metrics if value.metric == "task.exact_match"] == [
        ("task.exact_match", system) for system in ("base", "base_told", "tuned")
    ]
    forgetting = {v.system: v.value for v in identity.metrics if v.metric == "forgetting.bits_per_byte"}
    assert forgetting["tuned"] > forgetting["base"], "the base predicts its own passages best"
    assert "base_told" not in forgetting
    assert (identity.gates[0].rule, identity.gates[0].verdict) == ("above", "INCONCLUSIVE")
    assert identity.verdict in {"FAIL", "INCONCLUSIVE"}
    answers = list(ctx.blobs.get_lines(identity.answers))
    assert len(answers) == report.witness.num_answers == 3 * 6 + 2 * 5
    assert len({a["answer"] for a in answers if a["id"] == "r0#0"}) > 1, "the systems answer differently"
    questions = list(ctx.blobs.get_lines(identity.questions))
    assert questions[0]["reference"] == {"role": "assistant", "content": "answer 0"}

    (ctx.folder / "report.html").unlink()
    log = (ctx.folder / ANSWERS_NAME).read_bytes()
    again = stage.run(_section(), inputs, ctx)
    assert again.identity == identity
    assert (ctx.folder / ANSWERS_NAME).read_bytes() == log, "nothing was asked again"
    (ctx.folder / ANSWERS_NAME).unlink()
    assert stage.run(_section(), inputs, ctx).identity == identity, "asked anew, the answers are the same"
    assert ctx.said.count("passages of its own") == 1


def test_the_page_needs_nothing_else_and_escapes_every_text(ctx: FolderContext, model_folder: Path) -> None:
    inputs = _inputs(ctx, model_folder, [_row(i, HOSTILE) for i in range(6)])
    report = stage.run(_section(systems=["base", "tuned"]), inputs, ctx)
    page = Path(report.witness.html).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#x27;quotes&#x27;" in page
    assert not re.search(r"https?:|//[a-z]|src=|@import|url\(", page)
    for part in ("Gates", "Metrics", "tuned minus base", "polyline", "E-DAT-003: 1", "Worst of tuned", "prefers-color"):
        assert part in page, part
    assert page.count("<section") == page.count("</section")


def test_the_base_told_the_answers_sees_them_and_only_them(ctx: FolderContext, model_folder: Path) -> None:
    inputs = _inputs(ctx, model_folder, [_row(i, f"answer {i % 2}") for i in range(4)])
    machine = stage.open_machine(inputs["model"], inputs["plan"], inputs["train"], ctx)
    given = stage.Given(**inputs)
    prompt = stage.plan_suites(_section(), given, machine, ctx)[0].prompts[0]
    told = machine.tokenizer.decode(prompt.ids_for("base_told"))
    plain = machine.tokenizer.decode(prompt.ids_for("tuned"))
    assert "of these, and nothing else:\n- answer 0\n- answer 1<|im_end|>" in told
    assert "nothing else" not in plain
    assert prompt.ids_for("base") is prompt.ids_for("tuned")


@pytest.mark.parametrize(
    ("rows", "changes", "code"),
    [
        ([_row(0, "x" * 81)], {}, "E-EVA-002"),
        ([_row(i, f"answer {i}") for i in range(201)], {}, "E-EVA-002"),
        ([_row(0, "a")], {"suites": [{"type": "task", "options": {"on": "tset"}}]}, "E-EVA-003"),
        ([Row(id="t", kind="text", text="no question")], {"systems": ["base", "tuned"]}, "E-EVA-004"),
        ([_row(0, "a")], {"suites": [{"type": "task"}, {"type": "task"}]}, "E-EVA-005"),
        ([_row(0, "a")], {"gates": [{"metric": "task.macro_f1", "above": "base"}]}, "E-EVA-006"),
        ([_row(0, "a")], {"gates": [{"metric": "task.exact_match"}]}, "E-EVA-007"),
        (
            [_row(0, "a")],
            {"suites": [{"type": "task", "options": {"max_new_tokens": 511}}], "gates": []},
            "E-EVA-001",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_its_parts(
    ctx: FolderContext, model_folder: Path, rows: list[Row], changes: dict[str, Any], code: str
) -> None:
    inputs = _inputs(ctx, model_folder, rows)
    with pytest.raises(EvalError) as caught:
        stage.run(_section(**changes), inputs, ctx)
    problem = caught.value.problems[0]
    assert problem.code == code
    assert problem.got
    assert problem.fix
    assert problem.allowed or problem.needs
    assert not (ctx.folder / ANSWERS_NAME).exists()


def test_questions_are_drawn_by_seed_whatever_the_order(ctx: FolderContext, model_folder: Path) -> None:
    rows = [_row(i, "a") for i in range(30)]
    suites = [{"type": "task", "options": {"max_questions": 5}}, {"type": "forgetting", "options": {"on": "test"}}]
    drawn = []
    for ordered in (rows, rows[::-1]):
        inputs = _inputs(FolderContext(ctx.folder / f"{len(drawn)}"), model_folder, ordered)
        own = FolderContext(ctx.folder / f"{len(drawn)}")
        machine = stage.open_machine(inputs["model"], inputs["plan"], inputs["train"], own)
        section = _section(suites=suites, systems=["base", "tuned"])
        task, forgetting = stage.plan_suites(section, stage.Given(**inputs), machine, own)
        drawn.append({prompt.id for prompt in task.prompts})
        assert len(forgetting.prompts) == 30
        assert forgetting.prompts[0].reference.text.startswith("you are a helpful")
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 5


def test_damaged_passages_are_sampled_again(ctx: FolderContext, model_folder: Path) -> None:
    inputs = _inputs(ctx, model_folder, [_row(0, "a")])
    suites = [{"type": "forgetting", "options": {"passages": 3, "max_tokens": 9}}]
    first = stage.run(_section(suites=suites, gates=[]), inputs, ctx)
    path = next(ctx.folder.parent.glob("passages-*.json"))
    stored = json.loads(path.read_bytes())
    stored["passages"][0][0] += 1
    path.write_text(json.dumps(stored), encoding="utf-8")
    second = stage.run(_section(suites=suites, gates=[]), inputs, ctx)
    assert second.identity == first.identity
