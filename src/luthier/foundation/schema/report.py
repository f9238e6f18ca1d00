"""Report: numbers with intervals, comparisons with p-values, gates with verdicts."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Identity, Noun, Record, Witness

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class MetricValue(Noun):
    """One number of one system: value, interval, number of rows; never the value alone.

    Attributes:
        metric: ``suite.metric``.
        interval: Lower and upper bound at ``confidence``.
        method: How the interval was made, such as ``wilson`` or ``bca_cluster``.
        is_rough: True below the sizes for which the interval's coverage was shown.
    """

    metric: str
    system: str
    value: float
    interval: tuple[float, float]
    confidence: float = 0.95
    n: int
    clusters: int
    method: str
    is_rough: bool = False


class Difference(Noun):
    """Second minus first, on the same rows.

    Attributes:
        higher_is_better: Direction of the metric.
        p: Two-sided p of the paired test named in ``test``.
        p_holm: The same after Holm over this report's metrics.
        discordant: Rows on which the two differ.
        detectable: Smallest difference found with 80 % power at these rows.
        needed: Rows that would settle it, where the verdict is inconclusive.
    """

    metric: str
    first: str
    second: str
    value: float
    interval: tuple[float, float]
    confidence: float = 0.95
    p: float
    p_holm: float | None = None
    test: str
    n: int
    clusters: int
    discordant: int
    detectable: float
    needed: int | None = None
    higher_is_better: bool = True
    is_rough: bool = False


class GateVerdict(Noun):
    """One gate's outcome with the numbers it rests on."""

    metric: str
    against: str
    rule: str
    verdict: Verdict
    value: float
    bound: float
    p: float | None = None
    n: int
    needed: int | None = None
    reason: str


class ReportIdentity(Identity):
    """What was found.

    Attributes:
        systems: The systems compared, in order.
        questions: Blob of the questions: row id, turn, prompt digest, reference.
        answers: Blob with one line a question and system: id, system, answer, score by metric.
    """

    systems: tuple[str, ...]
    suites: tuple[dict[str, object], ...]
    metrics: tuple[MetricValue, ...]
    differences: tuple[Difference, ...]
    gates: tuple[GateVerdict, ...]
    verdict: Verdict
    questions: Digest
    answers: Digest


class ReportWitness(Witness):
    """How long it took and where the page lies."""

    seconds: float = 0.0
    peak_memory_bytes: int = 0
    num_answers: int = 0
    html: str = ""


class Report(Record[ReportIdentity, ReportWitness]):
    """Stage 5's record."""

    KIND: ClassVar[str] = "report"
