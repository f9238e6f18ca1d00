"""What the pages show can be pasted: command lines parse, pieces of recipes load, Python compiles and runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from luthier.cli.main import luthier
from luthier.foundation.recipe.resolve import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "adr").glob("*.md")])
FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```", re.M | re.S)
SHELLS = {"sh", "bash", "console", "shell"}


def list_blocks(*kinds: str) -> dict[str, str]:
    """Return all fenced blocks of some kinds by page and number."""
    return {
        f"{path.relative_to(ROOT)}-{number}": match[2]
        for path in PAGES
        for number, match in enumerate(FENCE.finditer(path.read_text(encoding="utf-8")))
        if match[1] in kinds
    }


# Command lines: in shell blocks, and in `code` of the text.


def list_command_lines() -> dict[str, list[str]]:
    """Return the words after ``luthier`` of every command line that a page shows, by page and line."""
    found = {}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        fenced = [line for match in FENCE.finditer(text) if match[1] in SHELLS for line in match[2].splitlines()]
        quoted = re.findall(r"`(luthier [a-z][^`\n]*)`", FENCE.sub("", text))
        for line in (*fenced, *quoted):
            bare = re.sub(r"^(\$ )?(\.venv/bin/)?", "", line.strip())
            if bare.startswith("luthier "):
                found[f"{path.relative_to(ROOT)}: {bare}"] = shlex.split(bare, comments=True)[1:]
    return found


COMMAND_LINES = list_command_lines()


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Walk the groups as click does; what is left are a command's own words."""
    command: click.Command = luthier
    context = click.Context(command, info_name="luthier")
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        assert inner is not None, f"there is no command {words[0]!r}"
        command, context, words = inner, click.Context(inner, info_name=words[0], parent=context), words[1:]
    return command, words


def check_words(command: click.Command, words: list[str], *, is_whole: bool) -> None:
    """Assert that a command takes these options and no more arguments than it has.

    Args:
        command: Of the real command line.
        words: After its name; values such as ``FILE`` stand for themselves.
        is_whole: Whether required arguments must be there; text such as "`luthier explain` says why" leaves them out.
    """
    options = {
        name: p
        for p in command.params
        if isinstance(p, click.Option)
        for name in (*p.opts, *p.secondary_opts, "--help")
    }
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    given, rest = 0, iter(words)
    for word in rest:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            assert name in options, f"{command.name} has no option {name}"
            if name != "--help" and not options[name].is_flag and not value:
                assert next(rest, None) is not None, f"{name} needs a value"
        else:
            given += 1
    assert given <= len(arguments), f"{command.name} takes {len(arguments)} arguments"
    if is_whole:
        assert given >= sum(argument.required for argument in arguments), f"{command.name} lacks an argument"


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_that_is_shown_parses(line: str) -> None:
    command, words = find_command(COMMAND_LINES[line])

    check_words(command, words, is_whole=bool(words) and "--help" not in words)


def test_command_lines_are_found_in_blocks_and_in_the_text() -> None:
    """So that the check above cannot go blind."""
    pages = {line.partition(":")[0] for line in COMMAND_LINES}

    assert {"README.md", "docs/guides/first-run.md", "docs/guides/when-it-fails.md"} <= pages
    assert len(COMMAND_LINES) >= 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["recipe", "chekc", "x"], "no command 'chekc'"),
        (["plan", "x", "--seed", "1"], "no option --seed"),
        (["plan", "x", "y"], "takes 1 arguments"),
        (["generate", "--data", "x"], "lacks an argument"),
        (["plan", "x", "--set"], "needs a value"),
    ],
)
def test_a_command_line_that_is_wrong_is_seen(words: list[str], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_words(*find_command(words), is_whole=True)


# Messages, too, hold lines that people paste: their `fix`.


def list_fixes() -> dict[str, list[str]]:
    """Return every ``fix="luthier ..."`` that the library may say; a part known only then is one word."""
    found = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = read_text(node.value) if isinstance(node, ast.keyword) and node.arg == "fix" else ""
            if re.match(r"luthier [a-z]", text):
                found[f"{path.relative_to(ROOT)}: {text}"] = shlex.split(text)[1:]
    return found


def read_text(node: ast.expr) -> str:
    """Return a string as it is written, with WORD for each value that is put in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else "WORD"
        for part in parts
        if isinstance(part, ast.Constant | ast.FormattedValue)
    )


FIXES = list_fixes()


@pytest.mark.parametrize("line", FIXES)
def test_every_command_line_that_an_error_gives_parses(line: str) -> None:
    command, words = find_command(FIXES[line])

    check_words(command, words, is_whole="--help" not in words)


def test_the_explanations_of_errors_name_only_commands_that_exist() -> None:
    from luthier.foundation.core.codes_table import EXPLANATIONS

    for code, page in EXPLANATIONS.items():
        for quoted in re.findall(r"`luthier ([a-z][^`]*)`", f"{page.why} {page.fix}"):
            command, words = find_command(shlex.split(quoted))
            try:
                check_words(command, words, is_whole=False)
            except AssertionError as error:
                raise AssertionError(f"{code}: luthier {quoted}: {error}") from error


# Recipes: pieces under a section's name are put into the smallest recipe that there is.


PIECES = {name: text for name, text in list_blocks("yaml").items() if not text.startswith("luthier:")}


@pytest.mark.parametrize("name", PIECES)
def test_every_piece_of_a_recipe_loads_in_a_recipe(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(complete(PIECES[name]), encoding="utf-8")

    loaded = load_recipe(path, environment={"LUTHIER_DATA": "/data"})

    written = {key for key, origin in loaded.origins.items() if origin != "default"}
    assert written - {"name", "data.sources.0.path"}, "the piece is read"


def complete(piece: str) -> str:
    """Add what every recipe needs to a piece that shows one section."""
    sources = "  sources: [{path: rows.jsonl}]\n"
    if "sources:" in piece:
        return f"name: shown\n{piece}"
    if piece.startswith("data:"):
        piece = piece.replace("data:\n", f"data:\n{sources}", 1)
    else:
        piece = f"{piece}\ndata:\n{sources}"
    return f"name: shown\n{piece}"


def test_every_page_of_a_plugin_shows_how_it_is_asked_for() -> None:
    """A page of an operator, metric, method, objective or suite that no block names could not be pasted from."""
    shown = "\n".join(list_blocks("yaml", "python", "sh").values())
    for family in ("operators", "metrics", "methods", "objectives", "suites"):
        for path in sorted((ROOT / "docs" / family).glob("*.md")):
            assert path.stem == "index" or re.search(rf"\b{path.stem}\b", shown), path.name


# Python and TOML.

PYTHON = list_blocks("python")


@pytest.mark.parametrize("name", PYTHON)
def test_every_python_block_compiles_and_imports_only_what_there_is(name: str) -> None:
    tree = ast.parse(PYTHON[name], filename=name)
    compile(tree, name, "exec")

    for module, member in list_imports(tree):
        loaded = importlib.import_module(module)
        assert not member or hasattr(loaded, member) or importlib.util.find_spec(f"{module}.{member}"), member


def list_imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def test_the_block_that_answers_prompts_runs_on_a_tiny_model(tmp_path: Path) -> None:
    import numpy as np

    from luthier.instruments.engine.load import load_model
    from luthier.instruments.text.tokens import load_tokenizer
    from tests.fixtures.tiny_models import build_tiny

    (block,) = [text for name, text in PYTHON.items() if name.startswith("docs/runtimes/torch_batched.md")]
    folder = build_tiny("llama", tmp_path / "tiny")
    names: dict[str, Any] = {
        "loaded": load_model(folder, dtype="fp32"),
        "tokenizer": load_tokenizer(folder),
        "prompts": [np.array([5, 6, 7], dtype=np.int32), np.array([8], dtype=np.int32)],
    }

    exec(compile(block, "torch_batched.md", "exec"), names)  # noqa: S102  our own page

    assert len(names["answers"]) == 2
    assert all(len(answer.token_ids) <= 40 for answer in names["answers"])


DATA = list_blocks("toml", "json")


@pytest.mark.parametrize("name", DATA)
def test_every_toml_and_json_block_is_that(name: str) -> None:
    try:
        loaded = tomllib.loads(DATA[name])
    except tomllib.TOMLDecodeError:
        loaded = json.loads(DATA[name])

    assert loaded
