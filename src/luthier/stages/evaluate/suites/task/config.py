"""Options of the suite ``task``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from luthier.foundation import registry
from luthier.foundation.schema.plugins import SuiteConfig
from luthier.foundation.schema.sections import PluginChoice


def _read_choice(value: Any) -> Any:  # noqa: ANN401  as written in a recipe
    """Accept ``X``, ``{type: X, option: …}`` and the stored ``{type, options}``."""
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, dict) and "options" not in value:
        return {"type": value.get("type"), "options": {key: item for key, item in value.items() if key != "type"}}
    return value


MetricChoice = Annotated[PluginChoice, BeforeValidator(_read_choice)]


class Config(SuiteConfig):
    """Ask assistant turns of held-out rows after their true history, and score the answers.

    Attributes:
        on: ``validation``, ``test`` or a name under ``data.evaluation``.
        metrics: What is reported; the first decides which rows are shown as worst.
        max_questions: Draw this many by the recipe's seed, from the turns that a metric counts; None asks all of them.
        base_questions: Ask the base, however it is prompted, only this many of them, on which it is then compared;
            the tuned model's own figure rests on all. None asks it all.
        max_new_tokens: Longest answer.
        too_long: What to do with a question that leaves no room for its answer.
    """

    VERSION: ClassVar[int] = 3

    on: str = "test"
    metrics: Annotated[tuple[MetricChoice, ...], Field(min_length=1)] = (PluginChoice(type="exact_match"),)
    max_questions: Annotated[int, Field(ge=1)] | None = None
    base_questions: Annotated[int, Field(ge=1)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=32_768)] = 128
    too_long: Literal["refuse", "drop"] = "refuse"

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, choices: tuple[PluginChoice, ...]) -> tuple[PluginChoice, ...]:
        names = [choice.type for choice in choices]
        if len(set(names)) != len(names):
            message = f"a metric is named twice in {names}"
            raise ValueError(message)
        for choice in choices:
            registry.load_config("metrics", choice.type).model_validate(choice.options)
        return choices
