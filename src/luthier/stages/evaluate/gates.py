"""Gates: a promise about a metric, kept, broken, or not settled by these rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.report import GateVerdict, Verdict
from luthier.foundation.schema.sections import Gate
from luthier.instruments.measure.stats.paired import PairedResult
from luthier.instruments.measure.stats.power import rows_needed
from luthier.stages.evaluate.compare import NEGLIGIBLE, TUNED, ScoredMetric

SEVERITY: Final[dict[Verdict, int]] = {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}


def check_gates(gates: Sequence[Gate], known: Mapping[str, Sequence[str]]) -> None:
    """Refuse gates that could never be judged, before anything is asked.

    Args:
        gates: Of the recipe.
        known: Systems that are compared, by ``suite.metric``.

    Raises:
        EvalError: E-EVA-006 for a metric that is not measured, E-EVA-007 for a rule that says nothing.
    """
    for number, gate in enumerate(gates):
        field = f"evaluate.gates.{number}"
        if gate.metric not in known:
            raise EvalError(
                "E-EVA-006",
                f"the gate on {gate.metric!r} has no number to stand on",
                got=gate.metric,
                allowed=", ".join(known) or "none: there is no suite",
                fix=f"metric: {next(iter(known), 'task.exact_match')}",
                field=field,
            )
        against = [one for one in (gate.above, gate.not_worse_than) if one is not None]
        systems = known[gate.metric]
        if len(against) != 1 or against[0] not in systems or against[0] == TUNED or TUNED not in systems:
            raise EvalError(
                "E-EVA-007",
                f"the gate on {gate.metric!r} needs one rule against one of the compared systems",
                got=f"above: {gate.above}, not_worse_than: {gate.not_worse_than}, compared: {', '.join(systems)}",
                allowed="`above` or `not_worse_than`, naming a system that is compared with `tuned`",
                fix=f"{{metric: {gate.metric}, above: base}}",
                field=field,
            )


def judge_gates(gates: Sequence[Gate], scored: Sequence[ScoredMetric]) -> tuple[GateVerdict, ...]:
    """Judge every gate; :func:`check_gates` has seen them before."""
    by_name = {one.name: one for one in scored}
    return tuple(judge_gate(gate, by_name[gate.metric]) for gate in gates)


def conclude(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the conjunction: the worst of all; PASS where nothing was promised."""
    return max(verdicts, key=SEVERITY.__getitem__, default="PASS")


def judge_gate(gate: Gate, one: ScoredMetric) -> GateVerdict:
    """Judge one gate.

    The gain is tuned minus the other system, in the direction in which the metric is better. ``above`` asks for a gain
    greater than ``margin``; ``not_worse_than`` for one greater than minus ``margin``. Both are one-sided at ``alpha``.
    """
    against = gate.above or gate.not_worse_than or ""
    gain = one.gain(against)
    required = gate.margin if gate.above else -gate.margin
    lower, upper = gain.bound(gate.alpha), gain.bound(1 - gate.alpha)
    uses_flips = gate.above is not None and gate.margin == 0
    is_kept = gain.flip.p_greater < gate.alpha if uses_flips else lower > required + NEGLIGIBLE
    verdict: Verdict = "INCONCLUSIVE"
    if is_kept:
        verdict = "PASS"
    elif upper < required - NEGLIGIBLE:
        verdict = "FAIL"
    needed = None
    if verdict == "INCONCLUSIVE":
        needed = rows_needed(gain.num_rows, gain.standard_error, gain.value - required, alpha=gate.alpha)
    return GateVerdict(
        metric=gate.metric,
        against=against,
        rule="above" if gate.above else "not_worse_than",
        verdict=verdict,
        value=gain.value,
        bound=upper if verdict == "FAIL" else lower,
        p=gain.flip.p_greater if uses_flips else None,
        n=gain.num_rows,
        needed=needed,
        reason=_explain(gate, gain, verdict, needed),
    )


def _explain(gate: Gate, gain: PairedResult, verdict: Verdict, needed: int | None) -> str:
    required = f"{gate.margin:+.4g}" if gate.above else f"{-gate.margin:+.4g}"
    lower, upper = gain.bound(gate.alpha), gain.bound(1 - gate.alpha)
    seen = (
        f"gain {gain.value:+.4g}, {1 - gate.alpha:.0%} bounds {lower:+.4g} and {upper:+.4g}, required above {required}"
    )
    if gate.above and gate.margin == 0:
        seen += f"; sign-flip p {gain.flip.p_greater:.3g}, required below {gate.alpha:g}"
    if verdict == "INCONCLUSIVE":
        settling = f"about {needed:,} rows" if needed else "no number of rows"
        seen += f"; {settling} like these would settle it"
    if gain.is_rough:
        seen += f"; rough: {gain.num_clusters} independent rows, {gain.discordant} of them changed"
    return seen
