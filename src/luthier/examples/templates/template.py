"""What the templates are: what each is for, what it measures, and its example rows. Written for this project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

ROWS_NAME: Final = "rows.jsonl"


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of job.

    Attributes:
        summary: What it makes, in one line of the recipe.
        rows: What the example rows are, for the recipe's comment.
        form: The example rows' form.
        columns: Their columns by the form's names, where they differ.
        objective: What the loss is.
        systems: What is compared.
        suite: The suite with its options; ``$tokens`` is the longest answer, ``$rows`` the longest text.
        gate: The promise that the tuned model must keep.
        meaning: What the gate's number says.
    """

    summary: str
    rows: str
    form: str
    objective: str
    systems: str
    suite: str
    gate: str
    meaning: str
    columns: Mapping[str, str]


TEMPLATES: Final[Mapping[str, Template]] = {
    "chat": Template(
        summary="a model that answers as your people do",
        rows="questions to a maker of coffee machines and how its desk answers",
        form="messages",
        objective="sft",
        systems="[base, tuned]",
        suite="{type: task, on: test, metrics: [token_f1], max_questions: 100, max_new_tokens: $tokens}",
        gate="{metric: task.token_f1, above: base}",
        meaning="words in common with the true answer; read the answers in the report, too",
        columns={},
    ),
    "classification": Template(
        summary="a model that names the right class of a text, and nothing else",
        rows="mail to a library and what each wants",
        form="prompt_completion",
        objective="sft",
        systems="[base, base_told, tuned]   # base_told: the base with the allowed answers in its prompt",
        suite="{type: task, on: test, metrics: [exact_match, macro_f1], max_questions: 200, max_new_tokens: $tokens}",
        gate="{metric: task.exact_match, above: base_told}",
        meaning="share of texts whose class is named exactly",
        columns={"prompt": "text", "completion": "label"},
    ),
    "tools": Template(
        summary="a model that calls the right function with the right arguments",
        rows="requests to an office's front desk and the calls that answer them",
        form="messages",
        objective="sft",
        systems="[base, tuned]",
        suite="{type: task, on: test, metrics: [tool_call], max_questions: 100, max_new_tokens: $tokens}",
        gate="{metric: task.tool_call, above: base}",
        meaning="share of questions whose calls agree in name and arguments",
        columns={},
    ),
    "preference": Template(
        summary="a model that prefers the answers that your people prefer",
        rows="questions to a hotel, each with an answer that was liked and one that was not",
        form="preference",
        objective="{type: dpo, beta: 0.1}",
        systems="[base, tuned]",
        suite="{type: preference, on: test}",
        gate="{metric: preference.pair_accuracy, above: base}",
        meaning="share of pairs in which the liked answer gained more than the other one",
        columns={},
    ),
    "documents": Template(
        summary="a model that knows the language of your documents",
        rows="pages of a shipyard's handbook",
        form="text",
        objective="sft",
        systems="[base, tuned]",
        suite="{type: forgetting, name: documents, on: test, max_tokens: $rows}",
        gate="{metric: documents.bits_per_byte, above: base}",
        meaning="how well it predicts pages that it never saw; lower is better",
        columns={},
    ),
}


def read_rows(template: str) -> bytes:
    """Return a template's example rows, one JSON object a line."""
    return files("luthier.examples.templates").joinpath(f"{template}.jsonl").read_bytes()
