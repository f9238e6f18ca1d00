"""The command line: what it prints where, which exit code it ends with, and that it never shows a traceback."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from luthier.cli import progress as cli_progress
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from luthier.foundation.core.errors import (
    EnvironmentLacks,
    Interrupted,
    LicenceError,
    LuthierError,
    PolicyDenied,
    RecipeError,
    TrainError,
)

START = "name: x\ndata: {sources: [{path: rows.jsonl}]}\n"


def call(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run_guarded(luthier, list(words))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def call_process(*words: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-m", "luthier", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_right_recipe_is_said_to_be_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "r.yaml").write_text(START)
    code, out, err = call("recipe", "check", str(tmp_path / "r.yaml"), capsys=capsys)
    assert (code, err) == (0, "")
    assert "is right: 2 values written" in out


def test_mistakes_go_to_stderr_in_words_and_with_json_to_stdout_as_an_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "r.yaml").write_text(f"{START}seed: x\nnaem: y\n")
    code, out, err = call("recipe", "check", str(tmp_path / "r.yaml"), capsys=capsys)
    assert (code, out) == (2, "")
    assert "E-REC-001" in err
    assert "E-REC-002" in err
    code, out, err = call("recipe", "check", str(tmp_path / "r.yaml"), "--json", capsys=capsys)
    assert code == 2
    error = json.loads(out)["error"]
    assert (error["exit_code"], error["type"]) == (2, "RecipeError")
    assert [problem["code"] for problem in error["problems"]] == ["E-REC-002", "E-REC-001"]


def test_show_prints_values_with_origins_and_set_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "r.yaml"
    path.write_text(f"{START}seed: 3\n")
    _, out, _ = call("recipe", "show", str(path), "--set", "train.epochs=2", "--json", capsys=capsys)
    values = {value["key"]: (value["value"], value["origin"]) for value in json.loads(out)["values"]}
    assert values["seed"] == (3, f"{path} line 3")
    assert values["train.epochs"] == (2.0, "--set")
    assert values["govern.sign"] == ("auto", "default")
    _, out, _ = call("recipe", "show", str(path), capsys=capsys)
    lines = [line.split() for line in out.splitlines()]
    assert ["seed", "3", str(path), "line", "3"] in lines
    assert ["data.select", "null", "default"] in lines


def test_schema_is_json_on_stdout_or_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _, out, _ = call("recipe", "schema", capsys=capsys)
    assert json.loads(out)["title"] == "Luthier recipe"
    target = tmp_path / "recipe.schema.json"
    code, _, _ = call("recipe", "schema", "--output", str(target), capsys=capsys)
    assert code == 0
    assert json.loads(target.read_text()) == json.loads(out)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dat"], "nearest is 'data'"),
        (["recipe", "chekc", "x"], "nearest is 'check'"),
        (["recipe", "show"], "Missing argument"),
        (["recipe", "show", "x", "--sett", "y"], "No such option"),
        (["gc", "--days", "many"], "not a valid float"),
        (["gc", "--days", "-1"], "number of days"),
        (["explain", "E-REC-1"], "nearest is E-REC-0"),
        (["list", "method"], "no plug-in family"),
        (["recipe", "check", "no-such-file.yaml"], "there is no file"),
        (["run", "no-such-file.yaml", "--until", "evalute"], "nearest is 'evaluate'"),
        (["runs", "compare", "aaaa", "bbbb"], "there is no run"),
        (["logs", "aaaa"], "there is no run"),
    ],
)
def test_wrong_usage_is_one_coded_problem_and_exit_code_2(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words, capsys=capsys)
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("E-")
    assert "fix:" in err
    code, out, _ = call(*words, "--json", capsys=capsys)
    assert code == 2
    assert json.loads(out)["error"]["problems"][0]["fix"]


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]):
    code, out, err = call("recipe", capsys=capsys)
    assert (code, out) == (2, "")
    assert "schema" in err


@pytest.mark.parametrize(
    ("error_class", "code"),
    [
        (RecipeError, 2),
        (TrainError, 1),
        (LicenceError, 3),
        (PolicyDenied, 3),
        (EnvironmentLacks, 4),
        (Interrupted, 130),
    ],
)
def test_each_class_of_error_has_its_exit_code(
    error_class: type[LuthierError], code: int, capsys: pytest.CaptureFixture[str]
):
    @click.command()
    def failing() -> None:
        raise error_class("E-REC-014", "something is wrong", fix="mend it")

    group = click.Group(commands={"failing": failing})
    assert run_guarded(group, ["failing"]) == code
    assert "something is wrong" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_says_that_nothing_is_lost(capsys: pytest.CaptureFixture[str]):
    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_guarded(click.Group(commands={"interrupted": interrupted}), ["interrupted"]) == 130
    assert "intact" in capsys.readouterr().err


SLEEPER = """
import sys, time, click
from luthier.cli import failures
@click.command()
def wait():
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    time.sleep(60)
failures.install_handlers()
sys.exit(failures.run_guarded(click.Group(commands={"wait": wait}), ["wait"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_process_with_their_code_and_no_traceback(number: signal.Signals, code: int):
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err


FAULTY = """
import sys, click
from luthier.cli import failures
@click.command()
@click.option("--json", is_flag=True)
def faulty(json):
    raise ZeroDivisionError("api_key=hunter2")
failures.install_handlers()
sys.exit(failures.run_guarded(click.Group(commands={"faulty": faulty}), sys.argv[1:]))
"""


def test_an_unexpected_fault_is_one_sentence_a_file_and_exit_code_1(tmp_path: Path):
    (tmp_path / ".luthier").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, "faulty", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    problem = json.loads(done.stdout)["error"]["problems"][0]
    assert problem["code"] == "E-REC-015"
    assert "Traceback" not in done.stderr
    kept = Path(problem["origin"])
    assert kept.parent == tmp_path / ".luthier" / "failures"
    assert "ZeroDivisionError" in kept.read_text()
    assert "hunter2" not in kept.read_text() + done.stdout + done.stderr, "secrets are taken out"


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path):
    command = f"{sys.executable} -m luthier recipe schema | head -c 10"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""


TORCH_FREE = [
    ["--help"],
    ["recipe", "check", "r.yaml"],
    ["run", "r.yaml", "--until", "evaluate"],
    ["recipe", "show", "good.yaml"],
    ["data", "check", "empty.jsonl"],
    ["list", "methods"],
    ["list", "metrics"],
    ["explain", "E-REC-001"],
    ["doctor"],
    ["status"],
]


def test_bad_input_and_what_needs_no_tensors_never_load_torch(tmp_path: Path):
    (tmp_path / "r.yaml").write_text("name: x\nnaem: y\n")
    (tmp_path / "good.yaml").write_text(START)
    (tmp_path / "empty.jsonl").touch()
    script = (
        "import sys\n"
        "from luthier.cli.failures import run_guarded\n"
        "from luthier.cli.main import luthier\n"
        f"for words in {TORCH_FREE!r}:\n"
        "    code = run_guarded(luthier, words)\n"
        "    heavy = sorted({'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules))\n"
        "    assert not heavy, (words, heavy)\n"
        "    assert code == (2 if words[-1] in ('r.yaml', 'evaluate', 'empty.jsonl') else 0), (words, code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_loads_neither_pydantic_nor_a_command():
    script = (
        "import sys\nfrom luthier.cli.failures import run_guarded\nfrom luthier.cli.main import luthier\n"
        "run_guarded(luthier, ['--help'])\n"
        "assert not {'pydantic', 'rich', 'sqlalchemy', 'numpy'} & set(sys.modules)\n"
        "assert not [name for name in sys.modules if name.startswith('luthier.cli.commands.')]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Exit codes" in done.stdout


def test_workspace_is_the_nearest_upwards_unless_it_is_given(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / ".luthier").mkdir()
    found = json.loads(call_process("status", "--json", folder=tmp_path / "a" / "b").stdout)
    assert (found["workspace"], found["exists"]) == (str(tmp_path), True)
    given = json.loads(call_process("status", "--json", "--workspace", str(tmp_path / "a"), folder=tmp_path).stdout)
    assert (given["workspace"], given["exists"]) == (str(tmp_path / "a"), False)
    assert not (tmp_path / "a" / ".luthier").exists(), "looking makes nothing"


def test_no_color_means_no_escape_codes(tmp_path: Path):
    done = call_process("list", "methods", folder=tmp_path, NO_COLOR="1", FORCE_COLOR="1")
    assert "lora" in done.stdout
    assert "\x1b[3" not in done.stdout


def test_lines_of_progress_say_amount_rate_time_to_go_and_figures(monkeypatch: pytest.MonkeyPatch):
    now = iter([0.0, 10.0, 20.0, 40.0])
    monkeypatch.setattr(cli_progress.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    shown = cli_progress.make_progress(stream)
    with shown.task("train", total=100, unit="steps") as task:
        task.advance(20, loss=1.23456)
        task.advance(20, loss=1.0, tokens_per_second=4321.0)
    shown.say("saved")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "train: 40 of 100 steps  2/s  0:30 to go  loss 1  tokens per second 4,321",
        "train: 40 of 100 steps  1/s  1:00 to go  loss 1  tokens per second 4,321  done",
        "saved",
    ]


def test_bars_are_drawn_on_a_terminal_and_taken_down(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    shown = cli_progress.make_progress(stream)
    assert isinstance(shown, cli_progress.BarProgress)
    with shown.task("plan", total=None, unit="rows") as task:
        task.advance(3, loss=0.5)
    shown.say("[bold]said as it is[/bold]")
    assert "plan" in stream.getvalue()
    assert "[bold]said as it is[/bold]" in stream.getvalue()


def test_durations_are_short_and_exact():
    assert cli_progress.format_seconds(59.6) == "1:00"
    assert cli_progress.format_seconds(3_725) == "1:02:05"
