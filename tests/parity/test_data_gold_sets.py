"""Operators against labelled rows that nobody here wrote: recall and precision as the docs state them.

Skipped, aloud, where the shared data is not on the machine.
"""

import json
from collections import Counter
from typing import Any

import pytest

from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.instruments.text.privacy import KINDS, find_private
from luthier.stages.data.ledger import Entry
from luthier.stages.data.operators.unicode.mojibake import repair_text
from luthier.stages.data.pipeline import apply_operators, resolve_operators
from luthier.stages.data.readers.source import Reading, read_rows
from tests.fixtures.data_rows import load_lines, read_shared

PRESIDIO_KINDS = {
    "CREDIT_CARD": "credit_card",
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip_address",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
}
DIRTY_KINDS = {"db_url": "url_credentials"}

Span = tuple[str, int, int]


@pytest.fixture(scope="module")
def dirty() -> tuple[list[Row], dict[str, dict[str, Any]]]:
    """The planted mix and its labels; rows that the reader refuses are the planted broken ones."""
    read = read_rows(Reading(read_shared("dirty/dev_rows.jsonl.gz")))
    labels = {label["id"]: label for label in load_lines(read_shared("dirty/dev_labels.jsonl.gz"))}
    return read.rows, labels


def _score(found: list[Span], gold: list[Span], counts: Counter[tuple[str, str]]) -> None:
    """Count a gold span as found where a finding of its kind overlaps it, as Presidio's own evaluation does."""
    for kind, start, end in gold:
        is_hit = any(kind == other and first < end and start < last for other, first, last in found)
        counts[kind, "hit" if is_hit else "missed"] += 1
    for kind, start, end in found:
        if not any(kind == other and first < end and start < last for other, first, last in gold):
            counts[kind, "false"] += 1


def test_personal_data_of_presidio_is_found_by_span() -> None:
    """Recall and precision as docs/operators/pii.md states them."""
    counts: Counter[tuple[str, str]] = Counter()
    for text in load_lines(read_shared("detect/pii_presidio_dev.jsonl.gz")):
        found = [tuple(each) for each in find_private(text["text"], list(PRESIDIO_KINDS.values()))]
        gold = [
            (PRESIDIO_KINDS[span["type"]], span["start"], span["end"])
            for span in text["spans"]
            if span["type"] in PRESIDIO_KINDS
        ]
        _score(found, gold, counts)
    for kind in ("email", "ip_address", "iban", "us_ssn"):
        assert counts[kind, "missed"] == counts[kind, "false"] == 0
    assert (counts["credit_card", "hit"], counts["credit_card", "missed"]) == (234, 2)
    assert counts["phone", "hit"] >= 79
    assert counts["credit_card", "false"] == counts["phone", "false"] == 0


def test_planted_private_data_is_found_exactly(dirty: tuple[list[Row], dict[str, dict[str, Any]]]) -> None:
    """Every span of a supported kind, to the letter; no look-alike is taken for one."""
    rows, labels = dirty
    counts: Counter[str] = Counter()
    for row in rows:
        label = labels[row.id]
        gold = [
            (span["message"], DIRTY_KINDS.get(span["type"], span["type"]), span["start"], span["end"])
            for span in label["detail"].get("spans", [])
        ]
        for place, kind, start, end in gold:
            if kind in KINDS:
                counts["planted"] += 1
                counts["found"] += (kind, start, end) in find_private(row.messages[place].text)
        if label["hard_negative"] in {"pii", "secret"}:
            lookalike = label["detail"]["text"]
            counts["false"] += len(find_private(lookalike))
    assert counts["planted"] > 290
    assert counts["found"] == counts["planted"]
    assert counts["false"] == 0


def _entries(rows: list[Row], name: str, held_out: dict[str, list[Row]], **options: Any) -> list[Entry]:
    steps = resolve_operators([PluginChoice(type=name, options=options)])
    return apply_operators(rows, steps, held_out).entries


def test_every_invisible_character_is_found(dirty: tuple[list[Row], dict[str, dict[str, Any]]]) -> None:
    rows, labels = dirty
    found = {entry.row: entry for entry in _entries(rows, "unicode", {})}
    planted = [row.id for row in rows if labels[row.id]["defect"] == "invisible_unicode"]
    assert len(planted) > 100
    assert all(row in found for row in planted)
    for row in planted:
        payload = labels[row]["detail"]["payload"]
        assert payload is None or payload in found[row].detail["hidden_text"]
    untouched = [row.id for row in rows if not labels[row.id]["defect"] and row.id in found]
    assert untouched == []


def test_all_broken_encoding_is_repaired_and_nothing_else(dirty: tuple[list[Row], dict[str, dict[str, Any]]]) -> None:
    rows, labels = dirty
    repaired = {entry.row for entry in _entries(rows, "unicode", {}) if "mojibake" in entry.reasons}
    misread = {"utf8_as_cp1252", "utf8_as_latin1", "double"}
    planted = {row.id for row in rows if labels[row.id]["defect"] == "mojibake" and labels[row.id]["sub"] in misread}
    assert len(planted) > 90
    assert repaired == planted


@pytest.mark.parametrize("name", ["tools/jmultiwoz_tc_dev", "detect/language_dev", "classification/banking77_train"])
def test_real_text_of_many_languages_is_never_repaired(name: str) -> None:
    for line in load_lines(read_shared(f"{name}.jsonl.gz")):
        text = json.dumps(line, ensure_ascii=False)
        assert repair_text(text) is text


def test_every_exact_copy_is_found_and_nothing_else(dirty: tuple[list[Row], dict[str, dict[str, Any]]]) -> None:
    rows, labels = dirty
    entries = _entries(rows, "dedupe", {})
    families = {row.id: labels[row.id]["group"] for row in rows}
    assert all(families[entry.row] and families[entry.row] == families[entry.detail["kept"]] for entry in entries)
    dropped = {entry.row for entry in entries}
    copied = {families[row.id] for row in rows if labels[row.id]["defect"] == "exact_duplicate"}
    left = Counter(families[row.id] for row in rows if row.id not in dropped)
    assert len(copied) > 90
    assert all(left[family] == 1 for family in copied)


def test_near_duplicates_are_of_the_family_of_the_row_kept(dirty: tuple[list[Row], dict[str, dict[str, Any]]]) -> None:
    """Precision 1 as docs/operators/near_dedupe.md states it; what is found of each kind of change."""
    rows, labels = dirty
    entries = _entries(rows, "near_dedupe", {})
    pairs = [(labels[entry.row], labels[entry.detail["kept"]]) for entry in entries]
    assert all(one["group"] and one["group"] == other["group"] for one, other in pairs)
    touched = {label["id"] for pair in pairs for label in pair}
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for label in labels.values():
        if label["defect"] == "near_duplicate":
            total[label["sub"]] += 1
            found[label["sub"]] += label["id"] in touched
    assert found["format"] / total["format"] > 0.95
    assert found["light"] / total["light"] > 0.7


def test_both_triggers_are_named_and_every_poisoned_row_is_found(
    dirty: tuple[list[Row], dict[str, dict[str, Any]]],
) -> None:
    rows, labels = dirty
    named = {entry.row: entry.detail["trigger"] for entry in _entries(rows, "poison", {})}
    planted = {
        row.id: labels[row.id]["detail"]["trigger"].casefold() for row in rows if labels[row.id]["defect"] == "backdoor"
    }
    assert len(planted) == 100
    assert named == planted


@pytest.mark.parametrize("name", ["banking77_train", "bitext_train"])
def test_rows_of_a_published_task_raise_no_alarm(name: str) -> None:
    rows = read_rows(Reading(read_shared(f"classification/{name}.jsonl.gz"))).rows
    assert len(_entries(rows, "poison", {})) == 0


def test_every_exact_leak_of_the_evaluation_rows_is_found(dirty: tuple[list[Row], dict[str, dict[str, Any]]]) -> None:
    """Exact, reformatted and question-only leaks: all. Edited and embedded ones: as docs/operators/decontaminate.md."""
    rows, labels = dirty
    reference = read_rows(Reading(read_shared("dirty/eval_reference.jsonl.gz"))).rows
    dropped = {entry.row for entry in _entries(rows, "decontaminate", {"reference": reference})}
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for row in rows:
        if labels[row.id]["defect"] == "eval_leak":
            total[labels[row.id]["sub"]] += 1
            found[labels[row.id]["sub"]] += row.id in dropped
    for sub in ("exact", "format", "question_only"):
        assert found[sub] == total[sub] > 0
    assert found["light"] / total["light"] >= 0.7
    assert found["embedded"] / total["embedded"] >= 0.7
    clean = [row.id for row in rows if not labels[row.id]["defect"]]
    assert sum(row in dropped for row in clean) / len(clean) < 0.003


@pytest.mark.parametrize("name", ["classification/banking77_dev.jsonl.gz", "tools/taskmaster4_dev.jsonl.gz"])
def test_real_rows_are_read_without_a_problem_and_kept_by_unicode(name: str) -> None:
    read = read_rows(Reading(read_shared(name)))
    assert not read.num_problems
    assert sum(entry.action == "dropped" for entry in _entries(read.rows, "unicode", {})) == 0
