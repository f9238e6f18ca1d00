"""What a corridor hands back: one line a stage, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luthier.foundation.core.errors import PolicyDenied
from luthier.foundation.schema.protocols import AnyRecord, Waiting
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.report import Report, Verdict
from luthier.foundation.schema.run import Run


@dataclass(frozen=True)
class StageResult:
    """One stage's outcome.

    Attributes:
        reused: Whether the record was there, or came from another process that was at it.
        seconds: Time that this corridor spent on it.
        digest: The record's name in the store.
        evidence: One sentence that says what was found or made.
    """

    stage: str
    reused: bool
    seconds: float
    digest: str
    evidence: str
    record: AnyRecord
    cache_key: str

    @property
    def execution_id(self) -> str:
        """First 12 digits of the key; for train the run's ID."""
        return self.cache_key[:12]

    def to_json(self) -> dict[str, Any]:
        """Return the stage as ``run --json`` prints it."""
        return {
            "stage": self.stage,
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
            "digest": self.digest,
            "evidence": self.evidence,
        }


@dataclass(frozen=True)
class CorridorResult:
    """All stages that ran, in order.

    Attributes:
        waiting: What the last stage waits for; None where the corridor reached its end.
        denied: Why the door after evaluate stayed closed; None where it did not.
    """

    stages: tuple[StageResult, ...]
    waiting: Waiting | None = None
    denied: PolicyDenied | None = None

    def find(self, stage: str) -> StageResult | None:
        """Return a stage's outcome, or None where it was not reached."""
        return next((result for result in self.stages if result.stage == stage), None)

    @property
    def report(self) -> Report | None:
        """The Report, where evaluate was reached."""
        found = self.find("evaluate")
        return found.record if found else None

    @property
    def release(self) -> Release | None:
        """The Release, where deploy was reached."""
        found = self.find("deploy")
        return found.record if found and isinstance(found.record, Release) else None

    @property
    def verdict(self) -> Verdict | None:
        """PASS, FAIL or INCONCLUSIVE, where evaluate was reached. The faces turn it into an exit code."""
        return self.report.identity.verdict if self.report else None

    @property
    def is_denied(self) -> bool:
        """Whether a gate has the last word: the door stayed closed, or the corridor was to end at a failed verdict."""
        ends_at_verdict = bool(self.stages) and self.stages[-1].stage == "evaluate"
        return self.denied is not None or (ends_at_verdict and self.waiting is None and self.verdict != "PASS")

    @property
    def run_id(self) -> str | None:
        """The run's ID, where train was reached."""
        found = self.find("train")
        return found.execution_id if found else None

    def to_json(self) -> dict[str, Any]:
        """Return the one object of ``run --json``; what was not reached is absent."""
        shown: dict[str, Any] = {"stages": [result.to_json() for result in self.stages]}
        train = self.find("train")
        if train and isinstance(train.record, Run):
            shown |= {"run": train.execution_id, "peak_memory_bytes": train.record.witness.peak_memory_bytes}
        if self.report:
            identity = self.report.identity
            gains = [item for item in identity.differences if (item.first, item.second) == ("base", "tuned")]
            shown["gain"] = gains[0].model_dump(mode="json") if gains else None
            shown["gates"] = [gate.model_dump(mode="json") for gate in identity.gates]
            shown |= {"verdict": identity.verdict, "report": self.report.digest}
        if self.release:
            shown |= {"release": self.release.digest, "parity": show_parity(self.release)}
        if self.denied:
            shown["denied"] = self.denied.to_dict()["error"]
        if self.waiting:
            shown["waiting"] = self.waiting.model_dump(mode="json")
        return shown


def show_parity(release: Release) -> dict[str, Any]:
    """Return a release's certificate with what was measured for it, as ``run --json`` and ``release show`` print it.

    Units:
        Differences and noise floor in nats a token.
    """
    certificate, witness = release.identity.certificate, release.witness
    measured = {step.step: step.model_dump(mode="json", exclude={"step"}) for step in witness.measured}
    steps = [step.model_dump(mode="json") | {"measured": measured.get(step.step)} for step in certificate.steps]
    return {
        "verdict": certificate.verdict,
        "broken_step": certificate.broken_step,
        "num_probes": certificate.num_probes,
        "num_asked": certificate.num_asked,
        "noise_floor": witness.noise_floor,
        "steps": steps,
    }
