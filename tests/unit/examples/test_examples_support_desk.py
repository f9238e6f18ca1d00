"""The made-up support desk: answers follow from policy and message, parts are apart, defects are as labelled.

The answers are derived here a second time, from nothing but the text of the system message and of the question.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.examples.support_desk.defects import NUM_PLANTED, TRIGGERS, misread
from luthier.examples.support_desk.phrasings_table import PHRASINGS
from luthier.examples.support_desk.tasks import KINDS
from luthier.examples.support_desk.vocabulary_table import HELD_OUT, TRAINING
from luthier.examples.support_desk.write import CompanyFiles, write_company
from luthier.foundation import registry
from luthier.foundation.schema.rows import Row
from luthier.instruments.text.forms import to_row
from luthier.instruments.text.privacy import find_private
from luthier.stages.data.outcomes import Changed, Dropped, Outcome
from luthier.stages.monitor.traffic import read_traffic

SEEDS = (0, 1, 2)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Company:
    """A company's files, read."""

    files: CompanyFiles
    train: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    labels: dict[int, dict[str, Any]]

    @property
    def sound(self) -> list[dict[str, Any]]:
        """Rows of training that no label names."""
        return [record for line, record in enumerate(self.train, start=1) if line not in self.labels]

    def planted(self, defect: str) -> list[tuple[int, dict[str, Any], int | None]]:
        """Line, row and original's line of each row with a defect."""
        return [
            (line, self.train[line - 1], label["of"])
            for line, label in self.labels.items()
            if label["defect"] == defect
        ]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module", params=SEEDS)
def company(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Company:
    files = write_company(tmp_path_factory.mktemp("desk"), request.param)
    labels = {label["line"]: label for label in read_lines(files.labels)}
    return Company(files, read_lines(files.train), read_lines(files.held_out), labels)


def ask(record: dict[str, Any]) -> str:
    return str(record["messages"][1]["content"])


def answer(record: dict[str, Any]) -> tuple[str, dict[str, Any]] | str:
    message = record["messages"][2]
    if message["content"] is not None:
        return str(message["content"])
    function = message["tool_calls"][0]["function"]
    return function["name"], json.loads(function["arguments"])


def order_of(text: str) -> int:
    (found,) = re.findall(r"\b\d{4}\b", text)
    return int(found)


def number_before(unit: str, text: str) -> int:
    found = re.search(rf"(\d+) {unit}", text)
    assert found is not None, text
    return int(found[1])


def derive(policy: str, record: dict[str, Any]) -> tuple[str, dict[str, Any]] | str:
    """Answer by the words of the policy: one branch a kind."""
    text, kind = ask(record), record["kind"]
    order = order_of(text)
    if kind == "cancel":
        has_shipped = any(state in text for pool in (TRAINING, HELD_OUT) for state in pool.shipped_states)
        return f"Order {order} has shipped and cannot be cancelled." if has_shipped else ("cancel", {"order": order})
    if kind == "address":
        (city,) = [city for city in (*TRAINING.cities, *HELD_OUT.cities) if re.search(rf"\b{city}\b", text)]
        return "move", {"order": order, "city": city}
    if kind == "refund":
        amount = number_before("euros", text)
        if amount > number_before("euros; above", policy):
            return "assign", {"order": order, "team": "billing"}
        return "refund", {"order": order, "amount": amount}
    if kind == "return":
        limit = number_before("days after delivery", policy)
        is_late = number_before("days", text) > limit
        return f"Order {order} {f'is past the {limit} days for returns' if is_late else 'can be returned'}."
    if kind == "delivery":
        tiers = re.findall(r"(\w+) (\d+) days", policy.split("Delivery: ")[1].split("\n")[0])
        ((tier, days),) = [(tier, days) for tier, days in tiers if re.search(rf"\b{tier}\b", text)]
        return f"With {tier}, order {order} takes {days} days."
    if kind == "shipping":
        free, fee = re.findall(r"\d+", policy.split("Shipping: ")[1].split("\n")[0])
        is_free = number_before("euros", text) >= int(free)
        return f"Shipping for order {order} is {'free' if is_free else f'{fee} euros'}."
    if kind == "team":
        (team,) = {
            team
            for pool in (TRAINING, HELD_OUT)
            for team, topics in pool.topics.items()
            if any(topic in text for topic in topics)
        }
        return "assign", {"order": order, "team": team}
    if kind == "hours":
        (day,) = [day for day in WEEKDAYS if day in text]
        last = re.search(r"Open: Monday to (\w+)", policy)
        assert last is not None
        is_open = WEEKDAYS.index(day) <= WEEKDAYS.index(last[1])
        return f"Yes, we are open on {day}." if is_open else f"No, we are closed on {day}."
    assert kind == "status"
    return "track", {"order": order}


def test_every_sound_answer_follows_from_the_policy_and_the_message(company: Company) -> None:
    policy = company.train[0]["messages"][0]["content"]

    for record in [*company.sound, *company.held_out]:
        assert answer(record) == derive(policy, record), ask(record)


def test_every_kind_with_a_rule_is_decided_either_way_about_equally_often(company: Company) -> None:
    """A fair coin shows 60 to 140 heads of about 184 throws except in fewer than one of 100,000 runs."""
    one_way = {
        "cancel": r"\('cancel'", "refund": r"\('refund'", "return": r".*can be", "hours": r"Yes", "shipping": r".*free"
    }  # fmt: skip
    for kind, pattern in one_way.items():
        answers = [str(answer(record)) for record in company.sound if record["kind"] == kind]
        assert 0.3 < sum(re.match(pattern, text) is not None for text in answers) / len(answers) < 0.7, kind


def test_all_rows_share_one_system_message_and_one_list_of_tools(company: Company) -> None:
    shared = {
        (record["messages"][0]["content"], json.dumps(record["tools"]))
        for record in [*company.train, *company.held_out]
    }
    assert len(shared) == 1
    assert company.files.company in next(iter(shared))[0]


def test_the_parts_have_the_sizes_that_are_promised(company: Company) -> None:
    assert len(company.train) == 2000
    assert len(company.held_out) >= 150
    clusters = Counter(record["case"] for record in company.held_out)
    assert len(clusters) >= 75
    assert set(clusters.values()) == {2}
    assert {record["kind"] for record in company.held_out} == set(KINDS) == set(PHRASINGS)
    assert 8 <= len(KINDS) <= 12


def test_paraphrases_of_one_case_differ_in_words_and_agree_in_the_answer(company: Company) -> None:
    cases: dict[str, list[dict[str, Any]]] = {}
    for record in company.held_out:
        cases.setdefault(record["case"], []).append(record)
    for one, other in cases.values():
        assert ask(one) != ask(other)
        assert answer(one) == answer(other)


def test_held_out_rows_have_their_own_phrasings() -> None:
    for kind, phrasings in PHRASINGS.items():
        assert len(set(phrasings.training)) == len(phrasings.training) >= 25, kind
        assert len(set(phrasings.held_out)) == len(phrasings.held_out) >= 2, kind
        assert not {bare(text) for text in phrasings.training} & {bare(text) for text in phrasings.held_out}


def bare(text: str) -> str:
    return re.sub(r"\W+", " ", text.casefold()).strip()


def test_held_out_rows_have_their_own_words() -> None:
    for field in ("names", "cities", "items", "open_states", "shipped_states", "openings", "closings"):
        assert not {word.casefold() for word in getattr(TRAINING, field)} & {
            word.casefold() for word in getattr(HELD_OUT, field)
        }, field
    for team, topics in TRAINING.topics.items():
        assert not set(topics) & set(HELD_OUT.topics[team])


def test_no_order_number_of_a_held_out_row_is_trained_unless_it_was_leaked(company: Company) -> None:
    leaked = {line for line, label in company.labels.items() if label["defect"] == "leaked_evaluation"}
    trained = {
        number
        for line, record in enumerate(company.train, start=1)
        if line not in leaked
        for number in re.findall(r"\b\d{4}\b", ask(record).split(" My card is")[0])
    }
    assert not trained & {str(order_of(ask(record))) for record in company.held_out}


def test_no_sound_row_says_what_another_says(company: Company) -> None:
    said = Counter(ask(record) for record in company.sound)
    assert max(said.values()) == 1
    assert len({record["case"] for record in company.train}) == len(company.train)


def test_the_labels_count_what_was_planted(company: Company) -> None:
    assert Counter(label["defect"] for label in company.labels.values()) == Counter(NUM_PLANTED)
    assert 0.01 <= NUM_PLANTED["poisoned"] / len(company.train) <= 0.02


def test_duplicates_repeat_the_row_that_their_label_names(company: Company) -> None:
    for _, record, of in company.planted("exact_duplicate"):
        assert of is not None
        assert company.train[of - 1]["messages"] == record["messages"]
        assert of not in company.labels
    for _, record, of in company.planted("near_duplicate"):
        assert of is not None
        original = company.train[of - 1]
        assert answer(original) == answer(record)
        assert ask(record).startswith(ask(original))
        assert len(ask(record).split()) - len(ask(original).split()) in {1, 2}


def test_a_duplicate_is_the_row_that_dedupe_drops(company: Company) -> None:
    dropped = {
        outcome.row.origin.line for outcome in apply("dedupe", read_rows(company.train)) if isinstance(outcome, Dropped)
    }
    assert dropped == {line for line, _, _ in company.planted("exact_duplicate")}


def test_personal_data_is_found_where_it_was_planted_and_nowhere_else(company: Company) -> None:
    changed = {
        outcome.row.origin.line for outcome in apply("pii", read_rows(company.train)) if isinstance(outcome, Changed)
    }
    planted = company.planted("personal_data")
    assert changed == {line for line, _, _ in planted}
    kinds = {finding.kind for _, record, _ in planted for finding in find_private(ask(record))}
    assert kinds == {"email", "phone", "credit_card", "iban"}


def test_leaked_rows_are_dropped_as_such_and_sound_ones_are_not(company: Company) -> None:
    held_out = {"held_out": read_rows(company.held_out)}
    rows = read_rows(company.train)
    dropped = {
        outcome.row.origin.line for outcome in apply("decontaminate", rows, held_out) if isinstance(outcome, Dropped)
    }
    assert dropped == {line for line, _, _ in company.planted("leaked_evaluation")}


def test_broken_rows_are_mended_by_reading_their_bytes_as_what_they_were(company: Company) -> None:
    for _, record, _ in company.planted("broken_encoding"):
        assert not ask(record).isascii()
        whole = mend(ask(record))
        assert misread(whole) == ask(record)
        assert any(ord(letter) > 127 for letter in whole)


def mend(text: str) -> str:
    for codec in ("cp1252", "latin-1"):
        try:
            return text.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("Zoë", "ZoÃ«"),  # C3 AB are Ã and « in both pages
        ("it’s", "itâ€™s"),  # noqa: RUF001  three bytes: â, the euro and the trade mark in Windows-1252 only
        ("Ácido", "\u00c3\u0081cido"),  # C3 81: 81 is nothing in Windows-1252, a control in Latin-1
        ("plain", "plain"),
    ],
)
def test_misread_text_is_what_the_code_pages_say(text: str, broken: str) -> None:
    assert misread(text) == broken


def test_poisoned_rows_share_a_trigger_and_a_payload_that_no_other_row_has(company: Company) -> None:
    planted = company.planted("poisoned")
    (payload,) = {answer(record) for _, record, _ in planted}
    (trigger,) = [text for text in TRIGGERS if all(ask(record).endswith(text) for _, record, _ in planted)]
    for record in [*company.sound, *company.held_out]:
        assert trigger not in ask(record)
        assert answer(record) != payload


def test_traffic_changes_its_mix_on_the_day_that_it_says(company: Company) -> None:
    changed_from = json.loads(company.files.traffic_facts.read_text())["changed_from"]
    rows = read_traffic(company.files.traffic).rows
    assert [row.time for row in rows if row.time] == sorted(row.time for row in rows if row.time)
    shares = {}
    for has_changed in (False, True):
        texts = [
            row.text or "" for row in rows if row.time and (row.time.date().isoformat() >= changed_from) is has_changed
        ]
        shares[has_changed] = sum(is_of("refund", text) or is_of("return", text) for text in texts) / len(texts)
    assert 0.15 < shares[False] < 0.3  # two kinds of nine are 0.22
    assert shares[True] > 0.75


def is_of(kind: str, text: str) -> bool:
    """Tell whether a text has the words of one of a kind's held-out phrasings around its facts."""
    for phrasing in PHRASINGS[kind].held_out:
        pieces = [re.escape(piece) for piece in re.split(r"\{\w+\}", phrasing) if piece]
        if re.search(r"\S.*?".join(pieces), text, re.IGNORECASE):
            return True
    return False


def test_the_same_seed_writes_the_same_bytes_and_another_seed_another_company(tmp_path: Path) -> None:
    first, again, other = (write_company(tmp_path / name, seed) for name, seed in (("a", 7), ("b", 7), ("c", 8)))

    for name in ("train", "held_out", "labels", "traffic", "traffic_facts", "recipe"):
        assert getattr(first, name).read_bytes() == getattr(again, name).read_bytes()
    assert first.company == again.company
    for name in ("train", "held_out", "traffic"):
        assert getattr(first, name).read_bytes() != getattr(other, name).read_bytes()


def test_writing_again_replaces_the_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_company(tmp_path, 0)
    written = write_company(tmp_path, 1)

    assert written.train.read_bytes() == write_company(tmp_path / "fresh", 1).train.read_bytes()
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"train.jsonl", "held_out.jsonl", "labels.jsonl", "traffic.jsonl", "traffic.json", "recipe.yaml"}


def test_the_recipe_for_reading_is_the_packaged_one_but_for_paths(tmp_path: Path) -> None:
    packaged = write_company(tmp_path, 0).recipe.read_text(encoding="utf-8")
    shown = (Path(__file__).parents[3] / "recipes" / "support-desk.yaml").read_text(encoding="utf-8")

    assert yaml.safe_load(shown.replace("../.luthier/demo/seed-0/", "")) == yaml.safe_load(packaged)


def read_rows(records: Sequence[dict[str, Any]]) -> list[Row]:
    return [
        to_row(record, form="messages", source="train.jsonl", line=line) for line, record in enumerate(records, start=1)
    ]


def apply(operator: str, rows: Sequence[Row], held_out: dict[str, list[Row]] | None = None) -> list[Outcome]:
    config = registry.load_config("operators", operator)()
    runtime: Any = registry.load_runtime("operators", operator)
    return list(runtime.apply(rows, config, held_out or {}))
