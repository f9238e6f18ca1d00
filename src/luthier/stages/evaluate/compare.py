"""Answers to numbers: each metric of each system with its interval, and paired differences between systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.foundation import registry
from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.seeds import derive_seed
from luthier.foundation.schema.report import Difference, MetricValue
from luthier.foundation.schema.sections import PluginChoice
from luthier.instruments.measure.metric import Item, Metric, to_metric_value
from luthier.instruments.measure.stats.multiplicity import holm
from luthier.instruments.measure.stats.paired import PairedResult, Sample, compare_paired, estimate
from luthier.instruments.measure.stats.power import rows_needed
from luthier.instruments.text.tool_calls import parse_tool_calls
from luthier.stages.evaluate.harness import Answer, Answers
from luthier.stages.evaluate.suite import PlannedSuite, Prompt

TUNED = "tuned"
BASE = "base"
NEGLIGIBLE = 1e-9
"""Distance below which two sums of the same numbers in another order count as equal."""


@dataclass(frozen=True, slots=True)
class ScoredMetric:
    """One metric of one suite, scored for every system; two systems are compared on the questions that both were asked.

    Attributes:
        name: ``suite.metric``.
        clusters: Cluster of each question that counts.
        samples: Totals of each system on the questions that it was asked.
        scores: Score of each question by system and question id.
        seed: Of resampling and flips.
        asked: Places among ``clusters`` of the questions that a system was asked; a system that is not here, all.
    """

    name: str
    higher_is_better: bool
    clusters: tuple[str, ...]
    samples: Mapping[str, Sample]
    scores: Mapping[str, Mapping[str, float]]
    seed: int
    asked: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.name.rpartition(".")[0]

    def compare(self, first: str, second: str) -> PairedResult:
        """Compare two systems, second minus first."""
        common = sorted(set(self.list_asked(first)) & set(self.list_asked(second)))
        clusters = [self.clusters[place] for place in common]
        return compare_paired(self._narrow(first, common), self._narrow(second, common), clusters, seed=self.seed)

    def list_asked(self, system: str) -> Sequence[int]:
        """Return the places of the questions that a system was asked."""
        return self.asked.get(system, range(len(self.clusters)))

    def list_clusters(self, system: str) -> list[str]:
        """Return the clusters of the questions that a system was asked."""
        return [self.clusters[place] for place in self.list_asked(system)]

    def _narrow(self, system: str, common: Sequence[int]) -> Sample:
        own = {place: row for row, place in enumerate(self.list_asked(system))}
        sample = self.samples[system]
        return replace(sample, totals=sample.totals[[own[place] for place in common]])

    def gain(self, against: str, system: str = TUNED) -> PairedResult:
        """Compare so that a positive difference is an improvement, whatever the metric's direction."""
        return self.compare(against, system) if self.higher_is_better else self.compare(system, against)


def score_suite(planned: PlannedSuite, answers: Answers, *, call_style: str, seed: int) -> list[ScoredMetric]:
    """Score a suite's answers by each of its metrics.

    Args:
        planned: The suite with its questions.
        answers: Of all systems that the suite compares.
        call_style: How the model writes tool calls.
        seed: The recipe's.

    Raises:
        EvalError: E-EVA-009 when no question counts for a metric.
    """
    bases = answers.get((planned.name, BASE), {})
    items = {
        system: [
            _to_item(p, answers[planned.name, system][p.id], bases.get(p.id, Answer()), call_style)
            if system not in p.left_out
            else None
            for p in planned.prompts
        ]
        for system in planned.systems
    }
    return [
        score_metric(f"{planned.name}.{choice.type}", choice, planned.prompts, items, seed=seed)
        for choice in planned.suite.metrics(planned.config)
    ]


def score_metric(
    name: str, choice: PluginChoice, prompts: Sequence[Prompt], items: Mapping[str, Sequence[Item | None]], *, seed: int
) -> ScoredMetric:
    """Score every system's answers by one metric.

    Args:
        name: ``suite.metric``.
        choice: The metric and its options.
        prompts: All questions.
        items: Each system's answers in the questions' order; None where it was not asked.
        seed: The recipe's.

    Raises:
        EvalError: E-EVA-009 when no question counts.
    """
    metric: Metric = registry.load_runtime("metrics", choice.type)
    config: Any = registry.load_config("metrics", choice.type).model_validate(choice.options)
    whole = [next(item for item in answered if item is not None) for answered in zip(*items.values(), strict=True)]
    kept = find_counted(name, choice, whole)
    chosen = {
        system: [(row, item) for row, place in enumerate(kept) if (item := answered[place]) is not None]
        for system, answered in items.items()
    }
    for answered in items.values():
        find_counted(name, choice, [item for item in answered if item is not None])
    return ScoredMetric(
        name=name,
        higher_is_better=metric.higher_is_better,
        clusters=tuple(prompts[place].cluster for place in kept),
        samples={system: metric.sample([item for _, item in own], config) for system, own in chosen.items()},
        scores={
            system: {prompts[kept[row]].id: metric.score(item, config) for row, item in own}
            for system, own in chosen.items()
        },
        seed=derive_seed(seed, "evaluate", "stats", name),
        asked={system: tuple(row for row, _ in own) for system, own in chosen.items() if len(own) < len(kept)},
    )


def find_counted(name: str, choice: PluginChoice, items: Sequence[Item]) -> list[int]:
    """Return the places of the questions that count for a metric.

    Raises:
        EvalError: E-EVA-009 when none does, such as answers for a metric that weighs texts.
    """
    metric: Metric = registry.load_runtime("metrics", choice.type)
    config: Any = registry.load_config("metrics", choice.type).model_validate(choice.options)
    kept = [place for place, item in enumerate(items) if metric.counts(item, config)]
    if not kept:
        raise EvalError(
            "E-EVA-009",
            f"the metric {name!r} counts none of the {len(items)} questions",
            got=f"{choice.type} {choice.options}",
            allowed="a metric that fits the rows",
            fix="luthier list metrics",
            field="evaluate.suites",
        )
    return kept


def _to_item(prompt: Prompt, answer: Answer, base: Answer, call_style: str) -> Item:
    content, calls = parse_tool_calls(answer.text, call_style)
    return Item(prompt.reference, answer.text, content, calls, prompt.fields, answer.nats, answer.lead, base.lead)


def list_values(scored: Sequence[ScoredMetric]) -> tuple[MetricValue, ...]:
    """Return every metric of every system with its interval."""
    return tuple(
        to_metric_value(estimate(sample, one.list_clusters(system), seed=one.seed), metric=one.name, system=system)
        for one in scored
        for system, sample in one.samples.items()
    )


def list_differences(scored: Sequence[ScoredMetric], pairs: Sequence[tuple[str, str]]) -> tuple[Difference, ...]:
    """Return paired differences, with Holm's correction over the metrics of each pair.

    Args:
        scored: All metrics.
        pairs: (first, second) systems; pairs that a suite does not compare are left out.
    """
    found: list[Difference] = []
    for first, second in pairs:
        own = [_to_difference(one, first, second) for one in scored if {first, second} <= one.samples.keys()]
        corrected = holm([difference.p for difference in own])
        found += [difference.model_copy(update={"p_holm": p}) for difference, p in zip(own, corrected, strict=True)]
    return tuple(found)


def _to_difference(one: ScoredMetric, first: str, second: str) -> Difference:
    result = one.compare(first, second)
    interval = result.interval()
    is_open = interval.low <= 0 <= interval.high
    return Difference(
        metric=one.name,
        first=first,
        second=second,
        value=result.value,
        interval=(interval.low, interval.high),
        p=result.flip.p_two_sided,
        test=f"sign_flip_{result.flip.method}",
        n=result.num_rows,
        clusters=result.num_clusters,
        discordant=result.discordant,
        detectable=result.detectable,
        needed=rows_needed(result.num_rows, result.standard_error, result.value, alpha=0.025) if is_open else None,
        higher_is_better=one.higher_is_better,
        is_rough=result.is_rough,
    )


def find_flipped(one: ScoredMetric, first: str, second: str) -> tuple[list[str], list[str]]:
    """Return the questions that the second system does better and those that it does worse, greatest change first."""
    sign = 1 if one.higher_is_better else -1
    common = one.scores[first].keys() & one.scores[second].keys()
    change = {key: sign * (one.scores[second][key] - one.scores[first][key]) for key in common}
    better = sorted((key for key in change if change[key] > NEGLIGIBLE), key=lambda key: (-change[key], key))
    worse = sorted((key for key in change if change[key] < -NEGLIGIBLE), key=lambda key: (change[key], key))
    return better, worse


def find_worst(one: ScoredMetric, system: str) -> list[str]:
    """Return the questions on which a system scores lowest, worst first."""
    sign = 1 if one.higher_is_better else -1
    return sorted(one.scores[system], key=lambda key: (sign * one.scores[system][key], key))
