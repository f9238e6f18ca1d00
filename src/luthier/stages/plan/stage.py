"""Stage 3: render and check every row, then fix every number of the run before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from luthier.examples.probes import load_probes
from luthier.foundation.core.errors import PlanError
from luthier.foundation.core.memory import read_resident_bytes
from luthier.foundation.registry import load_config
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan, PlanIdentity, PlanWitness
from luthier.foundation.schema.plugins import MethodConfig, ObjectiveConfig
from luthier.foundation.schema.protocols import AnyRecord, Context
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PlanSection, TrainSection
from luthier.instruments.text.pairs import as_conversation
from luthier.stages.plan.draft import Cell, Draft, Examples, Machine, draft_run
from luthier.stages.plan.examples import order_examples
from luthier.stages.plan.hardware import Hardware, find_hardware, parse_memory
from luthier.stages.plan.machine_speed import measure_speed
from luthier.stages.plan.packs import Room
from luthier.stages.plan.probes import pick_probes
from luthier.stages.plan.rows import RowEncoder, read_ranking, tell_dropped

VERSION: Final = 1
READS: Final = ("train",)
LAUNCHER: Final = "local"


def run(section: PlanSection, inputs: Mapping[str, AnyRecord], ctx: Context) -> Plan:
    """Plan the run.

    Raises:
        DataError: when rows cannot be rendered or trained on, all of them at once.
        PlanError: when rows, lengths or memory do not fit.
    """
    data, model, train = inputs["data"], inputs["model"], ctx.section("train")
    if not (isinstance(data, DatasetVersion) and isinstance(model, ModelChoice) and isinstance(train, TrainSection)):
        raise TypeError(type(train))
    began = ctx.clock.monotonic()
    hardware = find_hardware()
    room = read_room(section, hardware)
    check_length(train.max_length, model.identity.shape.max_positions)
    cell = load_cell(model, train)
    cell.method.trainable_parameters(cell.shape)
    encoder = RowEncoder.load(model, train, cell.objective, ctx)
    fitted = encoder.encode_training(data, ctx)
    probes = _pick_probes(section, data, ctx)
    rows = order_examples(fitted.encoded.rows, ranking=read_ranking(data, ctx), seed=ctx.seed)
    draft = draft_run(
        Examples(rows, encoder.sample_scored(data, probes, ctx)),
        section,
        train if _has_validation(data) else train.model_copy(update={"evaluations": 0}),
        cell=cell,
        machine=Machine(speed=measure_speed(), room=room),
        seed=ctx.seed,
    )
    return Plan(
        identity=_build_identity(draft, section, train, probes, inputs=(data, model), ctx=ctx),
        witness=PlanWitness(
            hardware=hardware.describe(),
            memory_bytes=draft.pack.parts,
            peak_memory_bytes=sum(draft.pack.parts.values()),
            seconds_estimate=draft.seconds,
            rate_tokens_per_second=draft.num_tokens / draft.seconds if draft.seconds else 0.0,
            num_tokens=draft.num_tokens,
            num_trained_tokens=draft.num_trained,
            reasons=(*tell_dropped(fitted, train), *draft.reasons),
            seconds=ctx.clock.monotonic() - began,
        ),
    )


def load_cell(model: ModelChoice, train: TrainSection) -> Cell:
    """Return the arithmetic of base, method and objective."""
    method = load_config("methods", train.method.type).model_validate(train.method.options)
    objective = load_config("objectives", train.objective.type).model_validate(train.objective.options)
    if not (isinstance(method, MethodConfig) and isinstance(objective, ObjectiveConfig)):
        raise TypeError(type(method))
    return Cell(model.identity.shape, method, objective)


def read_room(section: PlanSection, hardware: Hardware) -> Room:
    """Return the memory that may be used; what this process holds already counts as used.

    Raises:
        PlanError: E-PLN-005 when the recipe's text is not a size.
    """
    limit = parse_memory(section.memory_limit, available_bytes=hardware.available_bytes)
    if limit is None:
        raise PlanError(
            "E-PLN-005",
            "plan.memory_limit is not a memory size",
            got=section.memory_limit,
            allowed="auto, or a number with GiB, MiB, GB or MB",
            fix="--set plan.memory_limit='8 GiB'",
            field="plan.memory_limit",
        )
    resident = read_resident_bytes()
    if section.memory_limit == "auto":
        return Room(limit_bytes=limit + resident, origin="what is free on this machine", resident_bytes=resident)
    return Room(limit_bytes=limit, origin="plan.memory_limit", resident_bytes=resident)


def check_length(max_length: int, max_positions: int) -> None:
    """Refuse a length that the base was not made for.

    Raises:
        PlanError: E-PLN-004.
    """
    if max_length > max_positions:
        raise PlanError(
            "E-PLN-004",
            "train.max_length passes the context of the base",
            got=max_length,
            allowed=f"up to {max_positions}",
            fix=f"--set train.max_length={max_positions}",
            field="train.max_length",
        )


def _build_identity(
    draft: Draft,
    section: PlanSection,
    train: TrainSection,
    probes: tuple[Row, ...],
    *,
    inputs: tuple[DatasetVersion, ModelChoice],
    ctx: Context,
) -> PlanIdentity:
    data, model = inputs
    return PlanIdentity(
        parents={"data": data.digest, "model": model.digest},
        launcher=LAUNCHER if section.launcher == "auto" else section.launcher,
        backend=train.backend,
        seed=ctx.seed,
        examples=ctx.blobs.put_lines({"id": row.id} for row in draft.chosen),
        max_length=train.max_length,
        too_long=train.too_long,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        method=_describe(train.method.type, train.method.options),
        objective=_describe(train.objective.type, train.objective.options),
        probes=ctx.blobs.put_rows(probes),
        **draft.numbers,
    )


def _pick_probes(section: PlanSection, data: DatasetVersion, ctx: Context) -> tuple[Row, ...]:
    held_out = map(as_conversation, _iterate_held_out(data, ctx))  # of a preference its prompt and chosen answer
    return pick_probes(held_out, load_probes(), wanted=section.probes, seed=ctx.seed)


def _has_validation(data: DatasetVersion) -> bool:
    split = data.identity.splits.get("validation")
    return split is not None and split.num_rows > 0


def _describe(name: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"type": name, **options}


def _iterate_held_out(data: DatasetVersion, ctx: Context) -> Iterator[Row]:
    for name in ("test", "validation"):
        if name in data.identity.splits:
            yield from ctx.blobs.get_rows(data.identity.splits[name].blob)
