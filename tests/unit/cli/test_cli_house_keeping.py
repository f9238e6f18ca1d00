"""Commands that look around and keep house: what stands on stdout for people, and as JSON for scripts."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from luthier import __version__
from luthier.api import data as api_data
from luthier.api import doctor as api_doctor
from luthier.api import generate as api_generate
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from luthier.foundation.core.codes import ErrorCode
from luthier.foundation.registry import TABLES
from luthier.foundation.schema.protocols import Waiting
from luthier.foundation.store import tables
from tests.fixtures.fake_stages import Bench, make_run, open_quick_folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        yield Bench(folder)


class Desk:
    """A terminal whose output is read: ``text`` for people, ``json`` for scripts."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.code = 0

    def text(self, *words: str) -> str:
        self.code = run_guarded(luthier, [*words])
        return self.capsys.readouterr().out

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "--json"))


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


def train_with_curve(section: Any, inputs: Any, ctx: Any) -> Any:
    lines = [{"step": step, "loss": 3.0 / step, "note": "x"} for step in range(1, 31)]
    (ctx.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return make_run(section, inputs, ctx)


# Finding one's way.


def test_the_version_is_said_and_nothing_else(desk: Desk) -> None:
    assert desk.text("--version") == f"luthier, version {__version__}\n"


def test_families_are_listed_one_a_line_and_the_same_as_json(desk: Desk) -> None:
    assert desk.text("list").split() == list(TABLES)
    assert desk.json("list") == {"families": list(TABLES)}


@pytest.mark.parametrize("family", TABLES)
def test_a_familys_plugins_are_listed_with_all_that_is_known(family: str, desk: Desk) -> None:
    found = desk.json("list", family)
    text = desk.text("list", family)

    assert found["family"] == family
    assert [plugin["name"] for plugin in found["plugins"]] == list(TABLES[family].rows)
    for plugin in found["plugins"]:
        assert set(plugin) == {"name", "summary", "maturity", "source", "extra", "distribution", "options"}
        assert plugin["name"] in text
        assert plugin["summary"] in text
    if not found["plugins"]:
        assert text == f"no {family} are built in this version\n"


def test_every_code_is_explained_in_words_and_as_json(desk: Desk) -> None:
    for code in get_args(ErrorCode):
        page = desk.json("explain", code.lower())
        assert set(page) == {"code", "title", "why", "fix"}
        text = desk.text("explain", code)
        assert text.startswith(f"{code}: {page['title']}\n\n")
        assert text.endswith(f"fix: {page['fix']}\n")


def test_the_doctors_exit_code_says_whether_work_is_possible(
    desk: Desk, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUTHIER_DATA", raising=False)
    monkeypatch.setenv("LUTHIER_CACHE", str(bench.root / "cache"))
    found = desk.json("doctor", "--workspace", str(bench.root))
    assert (desk.code, found["is_able"]) == (0, True)

    monkeypatch.setenv("LUTHIER_DATA", str(bench.root / "nowhere"))
    found = desk.json("doctor", "--workspace", str(bench.root))
    assert (desk.code, found["is_able"]) == (4, False)
    (lacking,) = [finding for finding in found["findings"] if finding["state"] == "lacking"]
    assert lacking["name"] == "LUTHIER_DATA"
    assert lacking["fix"]
    text = desk.text("doctor", "--workspace", str(bench.root))
    assert f"{bench.root / 'nowhere'} is no folder" in text
    assert desk.code == 4


def test_what_the_doctor_finds_lacking_has_a_line_that_mends_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_doctor, "CORE_PACKAGES", ("torch", "no-such-package-of-ours"))
    monkeypatch.setattr(api_doctor, "NEEDED_BYTES", 2**80)
    monkeypatch.setattr(api_doctor.sys, "version_info", (3, 14, 0))
    monkeypatch.setattr(api_doctor.platform, "system", lambda: "Plan9")

    found = {finding.name: finding for finding in api_doctor.examine(bench.root, environment={})}

    lacking = {name: finding.fix for name, finding in found.items() if finding.state == "lacking"}
    assert lacking == {
        "python": "use Python 3.11, 3.12 or 3.13",
        "no-such-package-of-ours": "pip install no-such-package-of-ours",
        "disk": "luthier gc",
    }
    assert (found["system"].state, found["torch"].state) == ("note", "ok")
    assert "untried" in found["system"].fix
    assert all(finding.fix for finding in found.values() if finding.state != "ok")
    assert not api_doctor.is_able(list(found.values()))


def test_the_doctor_looks_at_the_disk_of_a_folder_that_is_not_there_yet(bench: Bench) -> None:
    found = {f.name: f for f in api_doctor.examine(bench.root / "not" / "yet", environment={})}

    assert found["disk"].found.endswith(f"free at {bench.root}")


def test_the_doctor_counts_the_records_of_a_workspace(bench: Bench) -> None:
    bench.run("model")
    found = {finding.name: finding for finding in api_doctor.examine(bench.root, environment={})}

    assert found["workspace"].state == "ok"
    assert found["workspace"].found.endswith(": 2 records")


# Keeping house.


def test_a_workspace_is_shown_with_its_newest_records_and_all_when_asked(desk: Desk, bench: Bench) -> None:
    for seed in range(12):  # data and model once, a plan and a run of each seed
        bench.recipe = bench.recipe.model_copy(update={"seed": seed})
        bench.run("train")
    place = ("--workspace", str(bench.root))

    few, every = desk.text("status", *place), desk.text("status", "--all", *place)

    records = desk.json("status", *place)["records"]
    assert len(records) == 26
    assert f"records    {len(records)}" in few
    assert sum(record["digest"][:12] in few for record in records) == 20
    assert all(record["digest"][:12] in every for record in records)
    assert "audit log  intact" in few
    assert "running    nothing" in few


def test_what_waits_is_shown_with_its_reason(desk: Desk, bench: Bench) -> None:
    waiting = Waiting(stage="train", reason="approval", detail="ask the owner of the model")
    bench.modules["train"].make = lambda *_: waiting
    bench.run("train")

    shown = desk.text("status", "--workspace", str(bench.root))

    assert "unfinished" in shown
    assert "waiting" in shown
    assert "ask the owner of the model" in shown


def test_an_altered_audit_log_is_told(desk: Desk, bench: Bench) -> None:
    bench.run("model")
    with bench.workspace.database.write() as connection:
        first = connection.execute(tables.audit.select().limit(1)).one()
        connection.execute(tables.audit.update().where(tables.audit.c[0] == first[0]).values(action="nothing"))

    shown = desk.text("status", "--workspace", str(bench.root))

    assert "broken at entry" in shown
    assert desk.json("status", "--workspace", str(bench.root))["audit_break"] is not None


def test_where_no_workspace_is_nothing_is_made(desk: Desk, bench: Bench) -> None:
    elsewhere = bench.root / "elsewhere"

    assert "the first run makes one" in desk.text("status", "--workspace", str(elsewhere))
    assert desk.text("runs", "--workspace", str(elsewhere)) == f"no runs in {elsewhere} yet\n"
    assert desk.json("runs", "--workspace", str(elsewhere)) == {"runs": []}
    assert not elsewhere.exists()


def test_a_runs_last_steps_are_shown_and_all_as_json(desk: Desk, bench: Bench) -> None:
    bench.modules["train"].make = train_with_curve
    run = str(bench.run("train").run_id)
    place = ("--workspace", str(bench.root))

    lines = [line.split() for line in desk.text("logs", run, "--last", "3", *place).splitlines()]

    assert lines[-3:] == [["28", "0.1071", "x"], ["29", "0.1034", "x"], ["30", "0.1", "x"]]
    assert ["step", "loss", "note"] in lines
    assert ["27", "0.1111", "x"] not in lines
    assert len(desk.json("logs", run[:5], *place)["steps"]) == 30


def test_runs_are_listed_and_compared_in_words(desk: Desk, bench: Bench) -> None:
    bench.change("train", epochs=1)
    first = str(bench.run("train").run_id)
    bench.change("train", epochs=2)
    second = str(bench.run("train").run_id)
    place = ("--workspace", str(bench.root))

    listed = desk.text("runs", *place).splitlines()
    assert [line.split()[0] for line in listed[1:]] == [second, first]
    compared = [line.split() for line in desk.text("runs", "compare", first, second, *place).splitlines()]
    assert ["train.epochs", "1.0", "2.0"] in compared
    assert "the recipes are equal" in desk.text("runs", "compare", first, first, *place)


def test_what_would_go_is_said_before_it_goes(desk: Desk, bench: Bench) -> None:
    run = str(bench.run("train").run_id)
    bench.workspace.blobs.put(b"nobody names this")
    place = ("--days", "0", "--workspace", str(bench.root))

    asked = desk.text("gc", "--dry-run", *place)
    assert "folders would go" in asked
    assert f"runs/{run}" in asked
    assert (bench.root / ".luthier" / "runs" / run).is_dir()
    done = desk.text("gc", *place)
    assert asked.replace("would go", "went") == done
    assert not (bench.root / ".luthier" / "runs" / run).exists()
    assert desk.text("gc", *place).startswith("0 blobs and 0 folders went")


def test_what_was_made_from_a_record_is_shown_with_its_distance(desk: Desk, bench: Bench) -> None:
    dataset = bench.run().stages[0].digest
    place = ("--workspace", str(bench.root))

    lines = [line.split() for line in desk.text("data", "used-by", dataset[:10], *place).splitlines()]

    assert lines[0] == ["dataset_version", dataset[:12], "is", "used", "by"]
    assert {line[0] for line in lines[2:]} == {"plan", "run", "report"}
    assert all(line[-1].isdigit() for line in lines[2:])
    report = desk.json("status", *place)["records"][0]["digest"]
    assert "is used by nothing yet" in desk.text("data", "used-by", report[:10], *place)


# Paths that the system refuses.

TOO_LONG = "x" * 300
LONG_PATHS = [
    ["recipe", "check", TOO_LONG],
    ["run", TOO_LONG],
    ["data", "check", TOO_LONG],
    ["model", "check", TOO_LONG],
    ["generate", TOO_LONG, "--data", TOO_LONG],
    ["status", "--workspace", TOO_LONG],
    ["doctor", "--workspace", TOO_LONG],
    ["gc", "--workspace", TOO_LONG],
    ["recipe", "schema", "--output", TOO_LONG],
]


@pytest.mark.parametrize("words", LONG_PATHS, ids=lambda words: " ".join(words[:2]))
def test_a_name_too_long_for_any_file_is_one_coded_problem(words: list[str], desk: Desk) -> None:
    problem = desk.json(*words)["error"]["problems"][0]

    assert desk.code == 2
    assert problem["code"] != "E-REC-015", "no fault of ours"
    assert problem["fix"]


def test_a_file_that_may_not_be_read_is_one_coded_problem(
    desk: Desk, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the tests may be allowed to read everything, so the system's answer is made up."""

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "secret.jsonl")

    monkeypatch.setattr(api_data, "check", deny)

    problem = desk.json("data", "check", "secret.jsonl")["error"]["problems"][0]

    assert (desk.code, problem["code"], problem["got"]) == (2, "E-REC-014", "secret.jsonl")
    assert problem["what"] == "the system refuses a path: Permission denied"


def test_a_fault_of_ours_is_not_taken_for_a_refused_path(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "of-our-own")

    monkeypatch.setattr(api_data, "check", lose)

    with pytest.raises(FileNotFoundError):
        desk.text("data", "check", "rows.jsonl")


@pytest.mark.parametrize("words", [["generate", "base", "--data", "rows.jsonl"], ["recipe", "schema"]])
def test_a_folder_that_is_not_there_is_noticed_before_anything_is_made_for_it(
    words: list[str], desk: Desk, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_generate, "generate", lambda *_, **__: pytest.fail("answers were made for nothing"))
    target = bench.root / "no-such-folder" / "out.jsonl"

    problem = desk.json(*words, "--output", str(target))["error"]["problems"][0]

    assert (desk.code, problem["code"]) == (2, "E-REC-014")
    assert f"there is no folder {str(target.parent)!r}" in problem["what"]
    assert not target.parent.exists()
