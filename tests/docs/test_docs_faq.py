"""The FAQ shows what the program says: each message is made by the mistake that its question tells of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
SHOWN = [text.strip() for text in re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)]
RECIPE = "luthier: 1\nname: a\ndata:\n  sources: [{path: rows.jsonl}]\n  split: {validation: 0, test: 0}\n"
GOOD = '{"prompt": "a", "completion": "b"}\n'


def call(recipe: str = RECIPE, rows: str | None = GOOD, *, words: tuple[str, ...] = ("run", "r.yaml")) -> int:
    """Run the command line on a recipe and its rows in this folder."""
    Path("r.yaml").write_text(recipe)
    if rows is not None:
        Path("rows.jsonl").write_text(rows)
    until = ("--until", "data") if words[0] == "run" else ()
    return run_guarded(luthier, [*words, *until])


def make_long_row() -> int:
    from tests.fixtures.tiny_models import build_tiny

    build_tiny("llama", Path("base"))
    row = '{"prompt": "a", "completion": "' + "please reset my card " * 40 + '"}\n'
    words = ("plan", "r.yaml", "--set", "model={base: base, license: MIT}", "--set", "train.max_length=64")
    return call(rows=row, words=words)


def deny() -> int:
    """The door's own message on a report that settles nothing."""
    from luthier.cli.failures import show_error
    from luthier.lifecycle.approval import check_door
    from tests.fixtures.example_records import make_examples

    report = make_examples()["report"]
    gate = report.identity.gates[0].model_copy(
        update={"metric": "task.exact_match", "rule": "above", "against": "base", "verdict": "INCONCLUSIVE"}
    )
    identity = report.identity.model_copy(update={"verdict": "INCONCLUSIVE", "gates": (gate,)})
    denied = check_door(report.model_copy(update={"identity": identity}), "0" * 64, (), stage="deploy", needed=0)
    return show_error(denied, is_json=False)


MISTAKES: dict[str, Callable[[], int]] = {
    "E-REC-001": lambda: call(RECIPE + "train: {epoch: 3}\n"),
    "E-DAT-001": lambda: call(rows=None),
    "E-TXT-012": lambda: call(rows='{"a": "x", "b": "y", "c": "z"}\n'),
    "E-DAT-003": lambda: call(rows=GOOD + '{"prompt": "a", "completion\n'),
    "E-DAT-007": lambda: call(rows=GOOD + '{"text": "c"}\n'),
    "E-DAT-015": lambda: call(rows='{"messages": [{"role": "user", "content": "hi"}]}\n'),
    "E-ENV-002": lambda: call(RECIPE.replace("rows.jsonl", "'${MY_DATA}/rows.jsonl'").replace("[{", "[ {")),
    "E-ENV-005": lambda: call(words=("model", "check", "smollm2-135m-instruct")),
    "E-TXT-009": make_long_row,
    "E-GOV-001": deny,
    "E-DEP-007": lambda: call(words=("chat", "release:desk")),
    "E-REC-014": lambda: call(words=("rum", "r.yaml")),
}


def test_every_message_of_the_page_has_its_mistake():
    assert [text.partition(":")[0] for text in SHOWN] == list(dict.fromkeys(text.partition(":")[0] for text in SHOWN))
    assert {text.partition(":")[0] for text in SHOWN} == set(MISTAKES)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda text: text.partition(":")[0])
def test_the_mistake_gives_the_message(shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MY_DATA", raising=False)

    assert MISTAKES[shown.partition(":")[0]]() in {2, 3, 4}

    said = capsys.readouterr().err.splitlines()
    assert shown in said, "\n".join(said)


def test_the_fix_that_a_message_gives_is_on_the_page_where_it_is_a_command():
    for command in ("luthier model pull smollm2-135m-instruct", "luthier recipe check", "luthier data check FILE"):
        assert command in PAGE
