"""What the demo says beside its recipe's run: planted defects found, answers exchanged, memory of a family."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.api.demo import Demo, describe_gain, list_overrides, require_base
from luthier.api.demo_controls import Control, shuffle_answers
from luthier.api.demo_memory import FamilyMemory, measure_family
from luthier.api.demo_planted import ANSWERABLE, Found, Label, judge_planted, read_labels, to_json
from luthier.examples.support_desk.defects import NUM_PLANTED
from luthier.foundation.core.errors import EnvironmentLacks
from luthier.foundation.registry import load_config
from luthier.foundation.schema.report import Difference, MetricValue
from luthier.foundation.schema.rows import Origin
from luthier.lifecycle.result import CorridorResult, StageResult
from luthier.stages.data.ledger import Action, Entry
from tests.fixtures.example_records import change, make_examples

ORDER = ("unicode", "empty", "pii", "dedupe", "near_dedupe", "decontaminate", "poison")


def make_entry(line: int, operator: str, action: Action = "dropped", *reasons: str) -> Entry:
    origin = Origin(file="train.jsonl", line=line)
    return Entry(row=f"train-{line}", origin=origin, operator=operator, action=action, reasons=reasons)


def test_every_kind_that_the_company_plants_has_an_operator_that_answers_for_it():
    assert ANSWERABLE.keys() == NUM_PLANTED.keys()
    for operator, _ in ANSWERABLE.values():
        assert load_config("operators", operator)


def test_recall_and_precision_are_those_counted_by_hand():
    """Poison: 2 of 3 named, one of the three was dropped before as a leak, one sound row named: 3/3 and 2/3."""
    labels = [Label(line, "poisoned") for line in (1, 2, 3)]
    entries = [*(make_entry(line, "poison") for line in (1, 2, 9)), make_entry(3, "decontaminate")]
    assert judge_planted(labels, entries, operators=ORDER) == {"poisoned": Found("poison", 3, 3, 3, 2)}


def test_what_a_later_operator_drops_or_an_earlier_one_mends_is_not_caught():
    labels = [Label(1, "personal_data"), Label(2, "personal_data")]
    entries = [make_entry(1, "poison"), make_entry(2, "unicode", "changed", "mojibake")]
    assert judge_planted(labels, entries, operators=ORDER)["personal_data"].caught == 0


def test_of_a_pair_of_duplicates_either_may_go():
    labels = [Label(5, "exact_duplicate", of=8), Label(6, "exact_duplicate", of=2)]
    entries = [make_entry(8, "dedupe"), make_entry(6, "dedupe")]
    assert judge_planted(labels, entries, operators=ORDER)["exact_duplicate"] == Found("dedupe", 2, 2, 2, 2)


def test_unicode_answers_for_broken_encoding_by_that_reason_alone():
    labels = [Label(1, "broken_encoding"), Label(2, "broken_encoding")]
    entries = [make_entry(1, "unicode", "changed", "mojibake"), make_entry(2, "unicode", "changed", "nfc")]
    assert judge_planted(labels, entries, operators=ORDER)["broken_encoding"] == Found("unicode", 2, 1, 1, 1)


def test_nothing_named_has_no_precision_and_an_operator_left_out_catches_nothing():
    found = judge_planted([Label(1, "poisoned")], [], operators=("unicode",))
    assert to_json(found)["poisoned"] == {
        "recall": 0.0,
        "precision": None,
        "n": 1,
        "caught": 0,
        "named": 0,
        "operator": "poison",
    }


def test_labels_are_read_as_they_are_written(tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"line": 4, "defect": "near_duplicate", "of": 9}\n{"line": 5, "defect": "poisoned", "of": null}\n')
    assert read_labels(path) == [Label(4, "near_duplicate", 9), Label(5, "poisoned")]


def test_exchanged_answers_are_the_same_answers_under_other_questions():
    rows = [
        {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}], "kind": i}
        for i in range(40)
    ]
    before = "".join(json.dumps(row) + "\n" for row in rows)
    after = [json.loads(line) for line in shuffle_answers(before, seed=3).splitlines()]
    assert [row["messages"][0] for row in after] == [row["messages"][0] for row in rows]
    assert [row["kind"] for row in after] == [row["kind"] for row in rows]
    answers = [row["messages"][1]["content"] for row in after]
    assert sorted(answers) == sorted(f"a{i}" for i in range(40))
    assert sum(answer == f"a{i}" for i, answer in enumerate(answers)) < 10
    assert shuffle_answers(before, seed=3) != shuffle_answers(before, seed=4)


def make_corridor(verdict: str) -> CorridorResult:
    report = change(make_examples()["report"], identity={"verdict": verdict})
    return CorridorResult((StageResult("evaluate", False, 1.0, report.digest, "", report, "k" * 64),))


@pytest.mark.parametrize(("verdict", "holds"), [("PASS", False), ("FAIL", True), ("INCONCLUSIVE", True)])
def test_a_control_that_must_not_pass_holds_unless_it_passes(verdict: str, *, holds: bool):
    control = Control("shuffled_answers", "answers exchanged", False, make_corridor(verdict))
    assert control.holds is holds
    assert control.to_json()["verdict"] == verdict
    assert Control("random_selection", "by chance", None, make_corridor(verdict)).holds


def test_the_gain_is_the_first_metrics_and_absent_systems_are_none():
    values = [
        MetricValue(
            metric="task.exact_match", system=system, value=value, interval=(0, 1), n=8, clusters=4, method="bca"
        )
        for system, value in (("base", 0.1), ("tuned", 0.6))
    ]
    gain = Difference(
        metric="task.exact_match",
        first="base",
        second="tuned",
        value=0.5,
        interval=(0.3, 0.7),
        p=0.01,
        test="flip",
        n=8,
        clusters=4,
        discordant=4,
        detectable=0.2,
    )
    report = change(make_examples()["report"], identity={"metrics": values, "differences": [gain], "verdict": "PASS"})
    assert describe_gain(report.identity) == {
        "metric": "task.exact_match",
        "base": 0.1,
        "base_few_shot": None,
        "copy": None,
        "tuned": 0.6,
        "difference": 0.5,
        "interval": [0.3, 0.7],
        "p": 0.01,
        "n": 8,
        "clusters": 4,
        "verdict": "PASS",
    }


def test_options_become_overrides_and_the_callers_own_come_last():
    wanted = Demo(seed=3, minutes=0.5, overrides=("plan.probes=4",))
    assert list_overrides(wanted) == ("seed=3", "plan.minutes=0.5", "plan.probes=4")


def test_a_base_that_is_not_here_is_said_with_the_line_that_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentLacks) as caught:
        require_base(())
    (problem,) = caught.value.problems
    assert problem.code == "E-ENV-005"
    assert "luthier model pull smollm2-135m-instruct" in problem.fix


def test_a_familys_memory_is_the_sum_of_its_shares_and_of_nobody_elses(tmp_path: Path):
    """A made-up /proc: 10 has the child 11 and the grandchild 12; 13 is a stranger; 14 ended while we looked."""
    for pid, parent, size in ((10, 1, 100), (11, 10, 30), (12, 11, 7), (13, 1, 999), (14, 10, None)):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a ) b) S {parent} 0")
        if size is not None:
            (folder / "smaps_rollup").write_text(f"Rss:  5000 kB\nPss:  {size} kB\nPss_Dirty: 1 kB\n")
            (folder / "statm").write_text(f"9999 {2 * size} 1 1 0 1 0")
    assert measure_family(10, proc=tmp_path) == 1024 * (100 + 30 + 7)
    resident = 2 * (100 + 30 + 7) * os.sysconf("SC_PAGE_SIZE")
    assert measure_family(10, above=resident - 1, proc=tmp_path) == 1024 * (100 + 30 + 7)
    assert measure_family(10, above=resident, proc=tmp_path) == 0, "shared pages are not divided for nothing"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not say")
def test_a_childs_memory_counts_while_it_lives():
    with FamilyMemory() as memory:
        before = measure_family(os.getpid())
        program = "b = b'x' * (64 << 20); print('ready', flush=True); input()"
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            during = measure_family(os.getpid())
            child.communicate(b"\n")
    assert during - before > 60 << 20
    assert memory.peak_bytes > 0
