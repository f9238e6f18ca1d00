"""``luthier govern`` on the command line: exit codes, and what a person reads."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from luthier.cli.commands.govern import draw_tree
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from tests.fixtures.fake_stages import Bench, open_quick_folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        yield Bench(folder)


def call(bench: Bench, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run_guarded(luthier, ["govern", *words, "--workspace", str(bench.root)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_approving_says_who_and_why_and_an_author_is_refused_with_3(bench: Bench, capsys):
    report = bench.run(author="Eve").report.digest
    code, out, _ = call(bench, capsys, "approve", report[:12], "--override", "--by", "Ada", "--reason", "seen")
    assert code == 0
    assert f"report {report[:12]} overridden by Ada at " in out
    assert "approvers so far: Ada; run the recipe again to go on" in out
    code, out, err = call(bench, capsys, "approve", report[:12], "--by", "EVE", "--reason", "mine", "--json")
    assert code == 3
    assert json.loads(out)["error"]["problems"][0]["code"] == "E-GOV-002"
    assert "E-GOV-002" in err
    assert call(bench, capsys, "approve", report[:12], "--by", "Ada")[0] == 2, "no reason"


def test_verifying_ends_with_0_or_3_and_shows_the_head_to_note(bench: Bench, capsys):
    bench.run()
    code, out, err = call(bench, capsys, "audit", "verify")
    assert (code, err) == (0, "")
    assert "as it was written" in out
    assert bench.workspace.audit.head() in out
    assert "cannot be seen without a head" in out
    with bench.workspace.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET action = 'nothing' WHERE seq = 2")
    code, out, err = call(bench, capsys, "audit", "verify", "--json")
    assert code == 3
    assert json.loads(out)["findings"][0]["seq"] == 2
    assert "E-GOV-007" in err


def test_the_log_is_shown_one_entry_a_line_the_newest_where_some_are_asked_for(bench: Bench, capsys):
    bench.run("data", author="Eve")
    _, out, _ = call(bench, capsys, "audit", "show")
    assert ["stage.started" in line for line in out.splitlines()] == [False, True, False]
    assert "author: Eve" in out
    assert not re.search(r"[0-9a-f]{64}", out), "digests by their first digits"
    _, out, _ = call(bench, capsys, "audit", "show", "--last", "1", "--json")
    assert [entry["action"] for entry in json.loads(out)["entries"]] == ["stage.done"]


def test_an_empty_log_says_so(bench: Bench, capsys):
    assert "nothing happened in" in call(bench, capsys, "audit", "show")[1]


def test_a_lineage_is_a_tree_in_which_each_record_grows_once(bench: Bench, capsys):
    stages = {stage.stage: stage for stage in bench.run(author="Eve").stages}
    code, out, _ = call(bench, capsys, "lineage", stages["evaluate"].digest[:12])
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"report {stages['evaluate'].digest[:12]}: INCONCLUSIVE")
    data = stages["data"].digest[:12]
    assert sum(data in line for line in lines) == 3, "an arrow each from plan, train and evaluate"
    assert sum(data in line and "as above" in line for line in lines) == 2
    assert "started by Eve; names are declared, not authenticated" in out
    _, out, _ = call(bench, capsys, "lineage", stages["evaluate"].digest, "--json")
    assert len(json.loads(out)["nodes"]) == 5


def test_a_card_is_plain_markdown_on_stdout(bench: Bench, capsys):
    report = bench.run().report.digest
    _, out, _ = call(bench, capsys, "card", report)
    assert out.startswith("---\nlicense: mit\n")
    assert json.loads(call(bench, capsys, "card", report, "--json")[1])["card"] == out
    assert call(bench, capsys, "card", "nowhere")[0] == 2


def test_no_path_or_licence_of_a_source_reaches_the_terminal_as_it_is():
    source = {"path": "a\x1b[2Jb", "sha256": "0" * 64, "num_rows": 1000, "license": "MIT\r\n"}
    node = {"digest": "1" * 64, "kind": "dataset_version", "evidence": "x\x07", "parents": {}, "approvals": []}
    stream = io.StringIO()
    Console(file=stream, width=300).print(draw_tree({"record": "1" * 64, "nodes": [{**node, "sources": [source]}]}))
    assert not set("\x1b\r\x07") & set(stream.getvalue())
    assert "1,000 rows" in stream.getvalue()
