"""The model card: written from records alone, so that it says nothing that was not decided or measured.

Only identities are read, never a witness: the same release has the same card, whenever and wherever it is made.
Sections are in ``card_sections``.

Source:
    Mitchell et al. 2019, Model Cards for Model Reporting, arXiv:1810.03993; the front matter is the one that model
    hubs read (``license``, ``base_model``, ``tags``, ``metrics``, ``model-index``).
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.release import Certificate
from luthier.foundation.schema.report import MetricValue, Report
from luthier.foundation.schema.run import Run
from luthier.foundation.schema.sections import GovernSection
from luthier.instruments.govern import card_sections
from luthier.instruments.govern.markdown import escape, flatten

RELATIONS: Final = {"full": "finetune"}
"""How a hub calls what a method makes of its base; every other method makes an adapter."""


class CardFacts(Noun):
    """Everything that a card may speak of.

    Attributes:
        name: The recipe's name.
        govern: Use and jurisdiction as declared.
        exports: Names of the forms in which it is released.
        certificate: Proof of parity; None where none was made.
        approvals: Who approved or overrode the Report.
    """

    name: str
    govern: GovernSection
    data: DatasetVersion
    model: ModelChoice
    plan: Plan
    run: Run
    report: Report
    exports: tuple[str, ...] = ()
    certificate: Certificate | None = None
    approvals: tuple[Approval, ...] = ()


def render_card(facts: CardFacts) -> str:
    """Write a release's model card in Markdown with YAML front matter.

    Args:
        facts: The records; two that differ only in their witnesses give the same card.
    """
    parts = [
        f"---\n{_write_front_matter(facts)}---",
        f"# {escape(facts.name)}",
        _introduce(facts),
        "## Intended use",
        card_sections.describe_use(facts.govern),
        "## Base model and licence",
        card_sections.describe_base(facts.model),
        "## Training data",
        card_sections.describe_data(facts.data, num_examples=facts.plan.identity.num_examples),
        "## Training",
        card_sections.describe_training(facts.plan, facts.run),
        "## Evaluation",
        card_sections.describe_evaluation(facts.report, facts.approvals),
        "## Limits",
        card_sections.describe_limits(facts.report, facts.data, facts.model),
        "## Parity",
        card_sections.describe_parity(facts.certificate),
        "## Records",
        card_sections.describe_records(facts.data, facts.model, facts.plan, facts.run, facts.report),
    ]
    return "\n\n".join(parts) + "\n"


def _introduce(facts: CardFacts) -> str:
    plan, base = facts.plan.identity, facts.model.identity.name
    method, objective = plan.method.get("type", "?"), plan.objective.get("type", "?")
    exports = f" Released as {', '.join(escape(name) for name in facts.exports)}." if facts.exports else ""
    is_overridden = facts.report.identity.verdict != "PASS" and any(one.is_override for one in facts.approvals)
    overridden = ", overridden by name and reason below" if is_overridden else ""
    return (
        f"{escape(base)}, tuned by {escape(method)} with objective {escape(objective)} on {plan.num_examples:,} rows. "
        f"Verdict: **{facts.report.identity.verdict}**{overridden}.{exports} Every number on this page is read from "
        "the records whose digests stand at its end."
    )


def _write_front_matter(facts: CardFacts) -> str:
    licence, method = flatten(facts.model.identity.licence.licence), str(facts.plan.identity.method.get("type", ""))
    tuned = [value for value in facts.report.identity.metrics if value.system == "tuned"]
    known = not licence.startswith("LicenseRef") and facts.model.identity.licence.verdict != "unknown"
    fields: dict[str, Any] = {
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": licence or "not stated"}),
        "base_model": flatten(facts.model.identity.name),
        "base_model_relation": RELATIONS.get(method, "adapter"),
        "library_name": "transformers" if method in RELATIONS else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["luthier", method, str(facts.plan.identity.objective.get("type", ""))],
        "metrics": list(dict.fromkeys(value.metric.rpartition(".")[2] for value in tuned)),
        "model-index": [{"name": flatten(facts.name), "results": [_index(value, facts) for value in tuned]}],
    }
    if not tuned:
        del fields["metrics"], fields["model-index"]
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return text


def _index(value: MetricValue, facts: CardFacts) -> dict[str, Any]:
    suite, _, metric = value.metric.rpartition(".")
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": f"{suite} of {flatten(facts.name)}", "type": facts.report.identity.questions},
        "metrics": [{"type": metric, "value": value.value, "name": value.metric}],
    }
