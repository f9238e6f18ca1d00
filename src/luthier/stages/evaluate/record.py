"""Questions and answers as lines of the blobs that a Report names: texts stay there and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from luthier.foundation.core.hashing import sha256_bytes
from luthier.stages.evaluate.compare import ScoredMetric
from luthier.stages.evaluate.harness import Answers
from luthier.stages.evaluate.suite import PlannedSuite


def list_questions(suites: Sequence[PlannedSuite]) -> Iterator[dict[str, Any]]:
    """Yield one line a question: suite, id, row, cluster, digest of the prompt, reference."""
    for planned in suites:
        for prompt in planned.prompts:
            yield {
                "suite": planned.name,
                "id": prompt.id,
                "row": prompt.row_id,
                "cluster": prompt.cluster,
                "prompt": sha256_bytes(prompt.ids_for("").astype("<i4").tobytes()),
                "reference": prompt.reference.model_dump(mode="json", exclude_defaults=True),
            }


def list_answers(
    suites: Sequence[PlannedSuite], answers: Answers, scored: Sequence[ScoredMetric]
) -> Iterator[dict[str, Any]]:
    """Yield one line a question and system: suite, id, system, answer, how it ended, how likely it was, scores."""
    for planned in suites:
        own = [one for one in scored if one.suite == planned.name]
        for system in planned.systems:
            for prompt in planned.asked_of(system):
                answer = answers[planned.name, system][prompt.id]
                counted = [one for one in own if prompt.id in one.scores[system]]
                yield {
                    "suite": planned.name,
                    "id": prompt.id,
                    "system": system,
                    "answer": answer.text,
                    "finish": answer.finish,
                    "mean_logprob": answer.mean_logprob,
                    "scores": {one.name: one.scores[system][prompt.id] for one in counted},
                }
