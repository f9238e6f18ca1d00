"""A few questions with every system's answer, drawn by seed, so that nobody picks the flattering ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.rows import Message

if TYPE_CHECKING:
    from luthier.api.demo import DemoResult
    from luthier.api.demo_page import PageFacts


@dataclass(frozen=True, slots=True)
class Shown:
    """One question with its answers.

    Attributes:
        answers: (system, text, whether it is right) in the Report's order.
    """

    request: str
    reference: str
    answers: tuple[tuple[str, str, bool], ...]


def list_answers_shown(result: DemoResult, facts: PageFacts, *, wanted: int) -> list[Shown]:
    """Draw questions that every system was asked, of different kinds as far as rows say their kind.

    Args:
        result: With its Report.
        facts: Blobs and seed.
        wanted: At most so many.
    """
    report = result.corridor.report
    data = result.corridor.stages[0].record.identity
    if report is None:
        return []
    suite = report.identity.suites[0]
    systems = report.identity.systems
    questions = [line for line in facts.blobs.get_lines(report.identity.questions) if line["suite"] == suite["name"]]
    answers: dict[str, dict[str, dict[str, Any]]] = {}
    for line in facts.blobs.get_lines(report.identity.answers):
        if line["suite"] == suite["name"]:
            answers.setdefault(line["id"], {})[line["system"]] = line
    rows = {row.id: row for row in facts.blobs.get_rows(data.splits[str(suite["on"])].blob)}
    asked = [line for line in questions if answers[line["id"]].keys() >= set(systems)]
    asked.sort(key=lambda line: sha256_json([facts.seed, "shown", line["id"]]))
    first = {str(rows[line["row"]].fields.get("kind", line["id"])): line for line in reversed(asked)}
    drawn = sorted(first.values(), key=asked.index)[:wanted]
    return [
        Shown(
            request=next(m.text for m in reversed(rows[line["row"]].messages) if m.role == "user"),
            reference=_write(Message.model_validate(line["reference"])),
            answers=tuple(_read(system, answers[line["id"]][system]) for system in systems),
        )
        for line in drawn
    ]


def _read(system: str, line: dict[str, Any]) -> tuple[str, str, bool]:
    return system, str(line["answer"]), next(iter(line["scores"].values()), 0.0) == 1.0


def _write(reference: Message) -> str:
    calls = [f"{call.function.name}({call.function.arguments})" for call in reference.tool_calls]
    return "\n".join(text for text in (reference.text, *calls) if text)
