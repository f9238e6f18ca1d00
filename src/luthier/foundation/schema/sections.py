"""The recipe's sections: one a stage. Plug-in fields stay ``{type, options}`` until ``recipe`` validates them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from luthier.foundation.schema.noun import Noun

FORMAT_VERSION: Final = 1
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Auto = Literal["auto"]


class PluginChoice(Noun):
    """One plug-in by name with its options; in a recipe ``{type: X, option: …}`` or a bare ``X``."""

    type: str
    options: dict[str, Any] = {}


class Source(Noun):
    """One file, folder or data set to read rows from."""

    path: str
    format: Literal["auto", "jsonl", "json", "csv", "parquet", "text", "folder"] = "auto"
    form: Literal[
        "auto",
        "messages",
        "openai_preference",
        "preference",
        "judged",
        "prompt_completion",
        "alpaca",
        "sharegpt",
        "text",
    ] = "auto"
    columns: dict[str, str] = {}
    weight: Annotated[float, Field(gt=0.0)] = 1.0
    license: str | None = None
    basis: str | None = None


class Split(Noun):
    """How rows are parted. ``by`` names what must not straddle: ``conversation`` or a column."""

    validation: Fraction = 0.1
    test: Fraction = 0.1
    by: str = "conversation"


class DataSection(Noun):
    """Stage 1: what is read, cleaned, selected and split."""

    sources: tuple[Source, ...] = ()
    operators: Literal["default"] | tuple[PluginChoice, ...] = "default"
    select: PluginChoice | None = None
    split: Split = Split()
    evaluation: dict[Name, str | Source] = {}


class ModelSection(Noun):
    """Stage 2: the base model. ``tool_template`` auto picks one where the base's template has no tool role."""

    base: str = "smollm2-135m-instruct"
    quantise: Literal["none", "nf4"] = "none"
    tool_template: str = "auto"
    license: str | None = None


class PlanSection(Noun):
    """Stage 3: what the run may take. ``minutes`` bounds training; ``num_examples`` fixes the rows."""

    launcher: str = "auto"
    memory_limit: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    probes: Annotated[int, Field(ge=1, le=10_000)] = 200
    minutes: Annotated[float, Field(gt=0.0)] | None = None
    num_examples: Annotated[int, Field(ge=1)] | None = None


class TrainSection(Noun):
    """Stage 4: which weights move, by what loss, for how long."""

    method: PluginChoice = PluginChoice(type="lora")
    objective: PluginChoice = PluginChoice(type="sft")
    backend: str = "luthier"
    max_length: Annotated[int, Field(ge=8)] = 2048
    too_long: Literal["refuse", "drop", "split"] = "refuse"
    batch_tokens: Auto | Annotated[int, Field(ge=1)] = "auto"
    epochs: Annotated[float, Field(gt=0.0)] = 3
    max_steps: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Auto | Annotated[float, Field(gt=0.0)] = "auto"
    warmup_ratio: Fraction = 0.03
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    evaluations: Annotated[int, Field(ge=0, le=1000)] = 4
    checkpoints: Annotated[int, Field(ge=1, le=1000)] = 4


class Gate(Noun):
    """A promise that a number must keep, one-sided at ``alpha``. Give ``above`` or ``not_worse_than``."""

    metric: str
    above: str | None = None
    not_worse_than: str | None = None
    margin: Annotated[float, Field(ge=0.0)] = 0.0
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05


class EvaluateSection(Noun):
    """Stage 5: what is asked, of which systems, and what must hold.

    Beside ``base`` and ``tuned``: ``base_told`` has the allowed answers in its prompt, ``base_few_shot`` three training
    rows; ``copy`` is no model but the answer of the nearest training row.
    """

    suites: tuple[PluginChoice, ...] = ()
    systems: tuple[Literal["base", "base_told", "base_few_shot", "copy", "tuned"], ...] = ("base", "tuned")
    gates: tuple[Gate, ...] = ()


class DeploySection(Noun):
    """Stage 6: what is exported and where it goes."""

    exports: tuple[PluginChoice, ...] = (PluginChoice(type="adapter"), PluginChoice(type="merged"))
    target: PluginChoice | None = None


class MonitorSection(Noun):
    """Stage 7: how drift is watched. Deploy asks for ``mode: reference``, whose record travels in the release."""

    mode: Literal["watch", "reference"] = "watch"
    false_alarm_rate: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.01
    retune: Literal["off", "suggest", "auto"] = "suggest"


class GovernSection(Noun):
    """Across all stages: declared use, jurisdiction, approvals, signing."""

    use: Literal["commercial", "research", "personal"] = "commercial"
    jurisdiction: str = "EU"
    approvals: Annotated[int, Field(ge=0, le=20)] = 0
    sign: Literal["auto", "off"] = "auto"


class Recipe(Noun):
    """The whole job. ``luthier`` is the format's version."""

    luthier: Literal[1] = FORMAT_VERSION
    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    plan: PlanSection = PlanSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    deploy: DeploySection = DeploySection()
    monitor: MonitorSection = MonitorSection()
    govern: GovernSection = GovernSection()
