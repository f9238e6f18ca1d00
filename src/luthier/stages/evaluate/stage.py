"""Stage 5: held-out questions, answers of every system, a paired verdict. Read :func:`run` first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from luthier.foundation import registry
from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.memory import read_peak_bytes
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import AnyRecord, Context
from luthier.foundation.schema.report import Report, ReportIdentity, ReportWitness
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.run import Run
from luthier.foundation.schema.sections import EvaluateSection
from luthier.instruments.text.tokens import load_tokenizer
from luthier.instruments.text.tool_calls import find_call_style
from luthier.stages.evaluate.compare import TUNED, ScoredMetric, list_differences, list_values, score_suite
from luthier.stages.evaluate.declaration import VERSION as VERSION
from luthier.stages.evaluate.gates import check_gates, conclude, judge_gates
from luthier.stages.evaluate.harness import ANSWERS_NAME, AnswerLog, Answers, ask_all
from luthier.stages.evaluate.machine import EngineMachine, TunedFiles
from luthier.stages.evaluate.page import PageInputs, render_page
from luthier.stages.evaluate.passages import sample_once
from luthier.stages.evaluate.record import list_answers, list_questions
from luthier.stages.evaluate.suite import PlannedSuite, Source

PAGE_NAME: Final = "report.html"
TUNED_FOLDER: Final = "tuned"
PROMPTED: Final = ("base_told", "base_few_shot")


@dataclass(frozen=True)
class Given:
    """The records that the stage is given."""

    data: DatasetVersion
    model: ModelChoice
    plan: Plan
    train: Run


def run(section: EvaluateSection, inputs: Mapping[str, AnyRecord], ctx: Context) -> Report:
    """Ask every system every question, score the answers, judge the gates.

    Args:
        section: Suites, systems and gates.
        inputs: ``data``, ``model``, ``plan`` and ``train``.
        ctx: What lifecycle hands over; its folder keeps the answers so far.

    Raises:
        EvalError: E-EVA-001 to E-EVA-011, before anything is asked where that is possible.
        DataError: When a question cannot be rendered.
        ModelError: When the base or the tuned files cannot be loaded.
    """
    started = ctx.clock.monotonic()
    given = Given(inputs["data"], inputs["model"], inputs["plan"], inputs["train"])
    machine = open_machine(given.model, given.plan, given.train, ctx)
    suites = plan_suites(section, given, machine, ctx)
    known = {f"{one.name}.{metric.type}": one.systems for one in suites for metric in one.suite.metrics(one.config)}
    check_gates(section.gates, known)
    systems = sorted(section.systems, key=lambda system: system == TUNED)  # bases first: one load serves all methods
    log = AnswerLog(ctx.folder / ANSWERS_NAME, fs=ctx.fs)
    answers = ask_all(suites, systems, machine, log, ctx.progress)
    template = machine.tokenizer.chat_template
    style = find_call_style(template) if template else "none"
    scored = [one for planned in suites for one in score_suite(planned, answers, call_style=style, seed=ctx.seed)]
    report = write_report(section, suites, answers, scored, inputs=inputs, ctx=ctx)
    curve = list(ctx.blobs.get_lines(given.train.witness.metrics)) if given.train.witness.metrics else []
    shown = PageInputs(report.identity, given.data.identity, given.model.identity.name, curve)
    page = ctx.folder / PAGE_NAME
    write_atomic(page, render_page(shown, suites, answers, scored).encode(), fs=ctx.fs)
    witness = ReportWitness(
        seconds=ctx.clock.monotonic() - started,
        peak_memory_bytes=read_peak_bytes(),
        num_answers=sum(len(found) for found in answers.values()),
        html=str(page),
    )
    return report.model_copy(update={"witness": witness})


def open_machine(model: ModelChoice, plan: Plan, train: Run, ctx: Context) -> EngineMachine:
    """Lay the trained files out and make the machine that answers; nothing is loaded yet."""
    folder = ctx.folder / TUNED_FOLDER
    for name, digest in train.identity.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, ctx.blobs.get(digest), fs=ctx.fs)
    base_folder = Path(model.witness.path)
    template = ctx.blobs.get(model.identity.chat_template).decode()
    return EngineMachine(
        base_folder,
        load_tokenizer(base_folder, chat_template=template or None),
        plan.identity.precision,
        TunedFiles(folder, str(train.identity.method["type"]), model.identity.weights),
        ctx.seed,
    )


def plan_suites(
    section: EvaluateSection, given: Given, machine: EngineMachine, ctx: Context
) -> tuple[PlannedSuite, ...]:
    """Gather every suite's questions.

    Raises:
        EvalError: E-EVA-003 for an unknown set, E-EVA-005 for two suites of one name, and what suites refuse.
    """
    what: dict[str, str | int] = {"base": given.model.identity.weights, "precision": machine.precision}
    source = Source(
        rows=lambda name: read_rows(given.data, name, ctx),
        sample=lambda count, length: sample_once(ctx, what, machine.sample, count, length),
        tokenizer=machine.tokenizer,
        systems=section.systems,
        max_positions=given.model.identity.shape.max_positions,
        seed=ctx.seed,
        say=ctx.progress.say,
    )
    planned: dict[str, PlannedSuite] = {}
    for choice in section.suites:
        suite = registry.load_runtime("suites", choice.type)
        config: Any = registry.load_config("suites", choice.type).model_validate(choice.options)
        name = config.name or choice.type
        if name in planned:
            raise EvalError(
                "E-EVA-005",
                f"two suites are named {name!r}",
                got=name,
                allowed="each name once; a suite's name defaults to its type",
                fix=f"name: {name}_2",
                field="evaluate.suites",
            )
        config = config.model_copy(update={"name": name})
        prompts = tuple(suite.gather(config, source))
        planned[name] = PlannedSuite(name, suite, config, prompts, suite.systems(section.systems))
    return tuple(planned.values())


def read_rows(data: DatasetVersion, name: str, ctx: Context) -> Iterator[Row]:
    """Read one set of rows.

    Raises:
        EvalError: E-EVA-003 for a set that the data stage did not make.
    """
    if name not in data.identity.splits:
        raise EvalError(
            "E-EVA-003",
            f"there is no set of rows {name!r}",
            got=name,
            allowed=", ".join(data.identity.splits),
            fix=f"data: {{evaluation: {{{name}: PATH}}}}",
            field="evaluate.suites",
        )
    return ctx.blobs.get_rows(data.identity.splits[name].blob)


def write_report(
    section: EvaluateSection,
    suites: Sequence[PlannedSuite],
    answers: Answers,
    scored: Sequence[ScoredMetric],
    *,
    inputs: Mapping[str, AnyRecord],
    ctx: Context,
) -> Report:
    """Store questions and answers, and write down what was found."""
    others = [system for system in section.systems if system != TUNED]
    pairs = [(system, TUNED) for system in others]
    pairs += [("base", system) for system in PROMPTED if "base" in others and system in others]
    gates = judge_gates(section.gates, scored)
    identity = ReportIdentity(
        parents={name: record.digest for name, record in inputs.items()},
        systems=section.systems,
        suites=tuple({"name": one.name, **one.config.model_dump(mode="json")} for one in suites),
        metrics=list_values(scored),
        differences=list_differences(scored, pairs),
        gates=gates,
        verdict=conclude([gate.verdict for gate in gates]),
        questions=ctx.blobs.put_lines(list_questions(suites)),
        answers=ctx.blobs.put_lines(list_answers(suites, answers, scored)),
    )
    return Report(identity=identity, witness=ReportWitness())
