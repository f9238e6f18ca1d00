"""The model card: every number on it stands in a record, no witness is in it, and no value can break the page."""

from __future__ import annotations

import json
import re
from typing import Any

import huggingface_hub
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.model import LicenceVerdict
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.release import Certificate, CertificateStep
from luthier.foundation.schema.sections import GovernSection
from luthier.instruments.govern.cards import CardFacts, render_card
from luthier.instruments.govern.markdown import escape, write_number, write_table
from tests.fixtures.example_records import make_examples, name_blob

PARTS = ("data", "model", "plan", "run", "report")
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")


def make_facts(**changes: Any) -> CardFacts:
    examples = make_examples()
    facts: dict[str, Any] = {
        "name": "support-desk",
        "govern": GovernSection(jurisdiction="EU"),
        "data": examples["dataset_version"],
        "model": examples["model_choice"],
        "plan": examples["plan"],
        "run": examples["run"],
        "report": examples["report"],
        "exports": ("adapter", "merged"),
        "certificate": make_certificate(),
        "approvals": (
            Approval(record=examples["report"].digest, by="Ada", reason="seen", is_override=True, time="2026-01-01"),
        ),
    }
    return CardFacts(**(facts | changes))


def make_certificate(**changes: Any) -> Certificate:
    steps = (
        CertificateStep(step="adapter", contract="1e-4 nats", is_within=True, num_probes=5, num_tokens=77),
        CertificateStep(
            step="merged", contract="1e-4 nats", is_within=False, num_probes=5, num_tokens=76, reason="probe 3 differs"
        ),
    )
    values = {"verdict": "FAIL", "num_asked": 8, "num_probes": 5, "probes": name_blob("probes"), "steps": steps}
    return Certificate(**(values | changes))


def change(record: Any, **identity: Any) -> Any:
    return record.model_copy(update={"identity": record.identity.model_copy(update=identity)})


def collect_numbers(value: Any) -> set[float]:
    """Return every number of a JSON value, those inside its texts too."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    if isinstance(value, str):
        return {float(found.replace(",", "")) for found in NUMBER.findall(value)}
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return set().union(*map(collect_numbers, items)) if items else set()


def test_every_number_of_the_card_stands_in_a_record_to_four_digits():
    facts = make_facts()
    known = collect_numbers(json.loads(facts.model_dump_json()))
    body = render_card(facts).partition("\n---\n")[2]
    shown = [float(found.replace(",", "")) for found in NUMBER.findall(re.sub(r"`[0-9a-f]{64}`", "", body))]
    assert len(shown) > 60
    counted = {1.0}  # how many of a record's sources: "1 of 1"
    strange = [n for n in shown if n not in counted and not any(abs(n - k) <= 5e-4 * abs(k) for k in known)]
    assert strange == []


def test_every_measured_number_of_the_report_is_on_the_card():
    facts = make_facts()
    body = render_card(facts)
    identity = facts.report.identity
    for value in identity.metrics:
        for number in (value.value, *value.interval, value.n, value.clusters):
            assert f" {write_number(number)} " in body
    for item in identity.differences:
        for number in (item.value, *item.interval, item.p_holm, item.n, item.detectable):
            assert f" {write_number(number)} " in body
    for step in facts.data.identity.waterfall:
        assert f"| {step.operator} | {step.rows_in} | {step.rows_out} | {step.changed} | {step.flagged} |" in body
    for record in (facts.data, facts.model, facts.plan, facts.run, facts.report):
        assert f"`{record.digest}`" in body


def empty_witness(record: Any) -> Any:
    fields = {
        name: field.get_default(call_default_factory=True) if not field.is_required() else "elsewhere"
        for name, field in type(record.witness).model_fields.items()
    }
    return record.model_copy(update={"witness": type(record.witness)(**fields)})


@pytest.mark.parametrize("part", PARTS)
def test_a_witness_changes_nothing(part: str):
    facts = make_facts()
    other = facts.model_copy(update={part: empty_witness(getattr(facts, part))})
    assert getattr(other, part) != getattr(facts, part)
    assert render_card(other) == render_card(facts)


def test_the_time_of_an_approval_changes_nothing_but_who_gave_it_and_why_stand_on_it():
    facts = make_facts()
    later = facts.approvals[0].model_copy(update={"time": "2027"})
    assert render_card(facts.model_copy(update={"approvals": (later,)})) == render_card(facts)
    assert "overridden by Ada: seen" in render_card(facts)
    assert "not authenticated" in render_card(make_facts(approvals=()))
    assert "**INCONCLUSIVE**, overridden by name" in render_card(facts)
    approved = facts.approvals[0].model_copy(update={"is_override": False})
    assert "overridden" not in render_card(facts.model_copy(update={"approvals": (approved,)}))


def test_a_model_hub_reads_the_front_matter():
    """By the hub's own reader, which refuses a card whose index has not its form."""
    card = huggingface_hub.ModelCard(render_card(make_facts()))
    assert (card.data.license, card.data.base_model, card.data.library_name) == ("mit", "tiny", "peft")
    assert card.data.tags == ["luthier", "lora", "sft"]
    assert card.data.metrics == ["exact_match"]
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.metric_name) == ("exact_match", 0.75, "task.exact_match")
    assert card.data.to_dict()["base_model_relation"] == "adapter"


def test_a_full_run_is_a_finetune_and_an_unknown_licence_is_other_to_a_hub():
    facts = make_facts()
    unknown = LicenceVerdict(licence="LicenseRef-own", verdict="unknown", reason="not in the table")
    facts = make_facts(
        plan=change(facts.plan, method={"type": "full"}), model=change(facts.model, licence=unknown), approvals=()
    )
    data = huggingface_hub.ModelCard(render_card(facts)).data.to_dict()
    assert (data["base_model_relation"], data["library_name"]) == ("finetune", "transformers")
    assert (data["license"], data["license_name"]) == ("other", "LicenseRef-own")
    assert "whether the base's licence allows the declared use is unknown" in render_card(facts)


def test_limits_say_what_was_forgotten_what_is_not_settled_and_what_nobody_tested():
    facts = make_facts()
    text = render_card(facts)
    assert "forgetting was not measured" in text
    assert "no difference between base and tuned is shown by 20 rows" in text
    assert "too few independent rows for intervals to be trusted" in text
    assert "not tested: harmful requests" in text
    (item,) = facts.report.identity.differences
    weighed = item.model_copy(
        update={"metric": "general.bits_per_byte", "value": 0.0123, "interval": (0.01, 0.02), "higher_is_better": False}
    )
    text = render_card(make_facts(report=change(facts.report, differences=(weighed,))))
    assert (
        "forgetting, general.bits\\_per\\_byte: 0.0123 against the base, interval 0.01 to 0.02 (lower is better)"
        in text
    )
    assert "no difference between" not in text


def test_sources_without_a_licence_are_counted():
    facts = make_facts()
    source = facts.data.identity.sources[0]
    bare = source.model_copy(update={"license": None, "basis": None})
    text = render_card(make_facts(data=change(facts.data, sources=(source, bare, bare))))
    assert "2 of 3 sources state no licence" in text
    assert "| not stated | not stated |" in text


def test_parity_says_which_step_broke_how_many_probes_lacked_and_where_there_is_no_certificate():
    text = render_card(make_facts())
    assert "Certificate: **FAIL**, on 5 probes; 8 were asked for." in text
    assert "| merged | beyond: probe 3 differs | 1e-4 nats | 5 | 76 |" in text
    whole = make_certificate(verdict="PASS", num_asked=5)
    assert "Certificate: **PASS**, on 5 probes.\n" in render_card(make_facts(certificate=whole))
    assert "is not shown" in render_card(make_facts(certificate=None))


def test_a_report_without_gates_and_comparisons_says_so():
    facts = make_facts()
    bare = change(facts.report, metrics=(), differences=(), gates=(), verdict="PASS")
    text = render_card(make_facts(report=bare))
    assert "No gate was set" in text
    assert "No two systems were compared." in text
    assert "model-index" not in text


HOSTILE = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=60) | st.sampled_from(
    ["| a |", "</td><script>", "# head", "a\n\n## Limits\n\nnone", "`", "[x](javascript:1)", "---", "\x1b[2J", "\\|"]
)


@given(text=HOSTILE)
@settings(max_examples=50, deadline=None)
def test_no_value_makes_a_heading_a_row_or_a_tag_of_its_own(text: str):
    facts = make_facts(govern=GovernSection(jurisdiction=text))
    source = facts.data.identity.sources[0].model_copy(update={"license": text, "basis": text})
    licence = LicenceVerdict(licence=text, verdict="unknown", reason=text, source=text, checked_on=text)
    hostile = facts.model_copy(
        update={
            "name": text,
            "data": change(facts.data, sources=(source,)),
            "model": change(facts.model, name=text, tool_template=text, licence=licence),
            "approvals": (facts.approvals[0].model_copy(update={"by": text, "reason": text}),),
        }
    )
    card = render_card(hostile)
    calm = render_card(facts)
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == [line for line in calm.splitlines() if line.startswith("## ")]
    assert "\n---\n" in card
    assert not re.search(r"(?<!\\)<", card.partition("\n---\n")[2])
    assert "\x1b" not in card
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for line in card.splitlines():
        if line.startswith("| base | "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3


@given(cells=st.lists(st.lists(HOSTILE, min_size=2, max_size=2), max_size=4))
def test_a_table_has_a_line_a_row_and_as_many_bars_as_columns(cells: list[list[str]]):
    lines = write_table(("a", "b"), [[escape(cell) for cell in row] for row in cells]).split("\n")
    assert len(lines) == 2 + len(cells)
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in lines)


def test_a_long_text_is_cut_and_a_noun_of_facts_is_closed():
    assert len(escape("x" * 1000)) == 400
    assert issubclass(CardFacts, Noun)
    with pytest.raises(ValueError, match="Extra inputs"):
        CardFacts(**make_facts().model_dump(), surprise=1)
