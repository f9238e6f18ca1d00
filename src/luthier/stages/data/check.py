"""Look at one file without a recipe: can it be read, what is in it, what would the default operators do."""

from __future__ import annotations

from luthier.foundation.core.errors import Problem
from luthier.foundation.schema.dataset import WaterfallStep
from luthier.foundation.schema.noun import Noun
from luthier.stages.data.ledger import Entry
from luthier.stages.data.pipeline import Step, apply_operators, resolve_operators
from luthier.stages.data.readers.source import MAX_SHOWN_PROBLEMS, Reading, read_rows
from luthier.stages.data.report import SplitStatistics, describe_rows
from luthier.stages.data.sources import digest_source
from luthier.stages.data.spool import Rows


class FileCheck(Noun):
    """What a file holds, as ``luthier data check`` shows it.

    Attributes:
        path: The file.
        digest: sha256 of its bytes.
        format: ``jsonl``, ``json``, ``csv``, ``parquet``, ``text`` or ``folder``.
        form: The rows' form.
        statistics: Counts of the good rows.
        num_problems: Bad rows in all.
        problems: The first of them.
        waterfall: What the default operators would do to the good rows.
        hint: What may be meant otherwise; empty where nothing.
    """

    path: str
    digest: str
    format: str
    form: str
    statistics: SplitStatistics
    num_problems: int
    problems: tuple[dict[str, str], ...]
    waterfall: tuple[WaterfallStep, ...]
    hint: str = ""

    @property
    def is_good(self) -> bool:
        """Whether a recipe could read the file as it is."""
        return not self.num_problems


def check_file(reading: Reading) -> FileCheck:
    """Read a file and say what is in it; bad rows are reported, not raised.

    Raises:
        DataError: When the file as a whole cannot be read.
    """
    rows = Rows(has_unique_ids=True)
    result = read_rows(reading, into=rows)
    cleaned = apply_operators(rows, [_drop_unanswered(step) for step in resolve_operators("default")], {})
    unanswered = [entry for entry in cleaned.entries if "unanswered" in entry.reasons]
    problems = [*result.problems, *(_describe_unanswered(entry) for entry in unanswered)]
    return FileCheck(
        path=str(reading.path),
        digest=digest_source(reading.path),
        format=result.format,
        form=result.form,
        statistics=describe_rows(rows),
        num_problems=result.num_problems + len(unanswered),
        problems=tuple(problem.to_dict() for problem in problems[:MAX_SHOWN_PROBLEMS]),
        waterfall=tuple(cleaned.waterfall),
        hint=result.hint,
    )


def _drop_unanswered(step: Step) -> Step:
    """Let ``empty`` drop what it would refuse, so that the waterfall goes on to its end."""
    if step.name != "empty":
        return step
    return Step(step.name, step.config.model_copy(update={"unanswered": "drop"}))


def _describe_unanswered(entry: Entry) -> Problem:
    return Problem(
        "E-DAT-015",
        f"row {entry.row} ends in a turn of {entry.detail['role']!r} that nobody answers",
        origin=str(entry.origin),
        fix="add the answer, or in data.operators use {type: empty, unanswered: trim}",
    )
