"""Bad recipes: every mistake at once with its line, floods answered with a count, bombs refused unread."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from luthier.foundation.core.errors import Problem, RecipeError
from luthier.foundation.recipe import text as recipe_text
from luthier.foundation.recipe.complaints import MAX_NEAREST_SEARCHES, MAX_PROBLEMS
from luthier.foundation.recipe.resolve import load_recipe

SOURCES = "data: {sources: [{path: rows.jsonl}]}\n"


def refuse(tmp_path: Path, text: str | bytes, *overrides: str, name: str = "r.yaml") -> tuple[Problem, ...]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides=overrides, environment={})
    assert caught.value.exit_code == 2
    for problem in caught.value.problems:
        assert problem.what
        assert problem.fix, "every problem says what to paste"
        assert problem.got
        assert problem.allowed
    return caught.value.problems


TEN_MISTAKES = """\
luthier: 1
name: 2024
naem: x
data:
  sources: [{path: rows.jsonl, wieght: 2}]
  split: {validation: 0.6, test: 0.5}
train:
  method: {type: lorra}
  too_long: refus
  epochs: .nan
  epochs: 3
plan: {probes: 0, launcher: fsdp}
evaluate:
  suites: [task, task]
  gates: [{metric: task.exact_match}, {metric: task.exact_match, above: base, not_worse_than: base}]
"""


def test_ten_mistakes_and_more_are_told_at_once_in_the_order_of_lines(tmp_path: Path):
    problems = refuse(tmp_path, TEN_MISTAKES)
    place = f"{tmp_path / 'r.yaml'} line "
    found = [(int(problem.origin.removeprefix(place)), problem.code) for problem in problems]
    assert sorted(found) == [
        (2, "E-REC-002"),
        (3, "E-REC-001"),
        (5, "E-REC-001"),
        (6, "E-REC-008"),
        (8, "E-REC-011"),
        (9, "E-REC-002"),
        (10, "E-REC-002"),
        (11, "E-REC-004"),
        (12, "E-REC-002"),
        (12, "E-REC-010"),
        (14, "E-REC-008"),
        (15, "E-REC-008"),
        (15, "E-REC-008"),
    ]
    assert [line for line, _ in found] == sorted(line for line, _ in found)
    told = "\n".join(problem.what for problem in problems)
    assert "nearest is 'name'" in told
    assert "nearest is 'weight'" in told
    assert "nearest is 'lora'" in told


def test_a_hundred_thousand_unknown_keys_are_counted_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    searches: list[str] = []
    from luthier.foundation.recipe import complaints

    search = complaints.difflib.get_close_matches
    monkeypatch.setattr(
        complaints.difflib,
        "get_close_matches",
        lambda key, *rest, **more: searches.append(key) or search(key, *rest, **more),
    )
    lines = "".join(f"k{number}: 1\n" for number in range(50_000))
    inner = "".join(f"  k{number}: 1\n" for number in range(50_000))
    problems = refuse(tmp_path, f"name: x\n{SOURCES}{lines}train:\n{inner}")
    assert len(searches) == MAX_NEAREST_SEARCHES
    assert len(problems) == MAX_NEAREST_SEARCHES + 1
    assert problems[-1].what == f"{100_000 - MAX_NEAREST_SEARCHES} more unknown keys"


def test_a_flood_of_other_problems_is_cut_with_a_count(tmp_path: Path):
    problems = refuse(tmp_path, "name: x\ndata: {sources: [" + ",".join([".nan"] * 5_000) + "]}")
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].what == f"{5_000 - MAX_PROBLEMS} more problems"


@pytest.mark.parametrize("levels", [9, 60])
def test_a_yaml_bomb_is_refused_before_it_unfolds(tmp_path: Path, levels: int):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, levels):
        bomb += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n"
    (problem,) = refuse(tmp_path, bomb)
    assert problem.code == "E-REC-007"
    assert problem.origin.endswith("line 5"), "9**4 values at line 4, more than ten thousand in sum at line 5"


def test_nesting_is_bounded_in_yaml_and_in_json(tmp_path: Path):
    assert refuse(tmp_path, "a: " + "[" * 100_000)[0].code == "E-REC-007"
    assert refuse(tmp_path, "[" * 100 + "]" * 100, name="r.json")[0].code == "E-REC-007"
    assert refuse(tmp_path, "[" * 200_000 + "]" * 200_000, name="r.json")[0].code == "E-REC-007"


def test_size_is_bounded_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe_text, "MAX_BYTES", 100)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("an oversized file was read"))
    assert refuse(tmp_path, "name: x\n" * 20)[0].code == "E-REC-007"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("# only a comment\n", 1),
        ("- a\n- b\n", 1),
        ("just text", 1),
        ("name: x\n\tseed: 1\n", 2),
        ("name: [x\nseed: 1\n", 2),
        ("name: x\n---\nname: y\n", 2),
        ("name: *nothing\n", 1),
        ("name: &a [*a]\n", 1),
        ("name: !!python/object/apply:os.system [ls]\n", 1),
        ("name: !!timestamp 2024-01-01\n", 1),
        ("? [a, b]\n: c\n", 1),
        ("a: &a x\n*a : c\n", 2),
        ("name: 'x\n", 1),
        ("name: \x01\n", None),
    ],
)
def test_what_is_no_recipe_is_refused_at_its_line(tmp_path: Path, text: str, line: int | None):
    (problem,) = refuse(tmp_path, text)
    assert problem.code == "E-REC-006"
    assert line is None or problem.origin == f"{tmp_path / 'r.yaml'} line {line}"


def test_broken_json_and_a_key_given_twice_in_json_have_lines(tmp_path: Path):
    (problem,) = refuse(tmp_path, '{"name": "x",\n "seed": }', name="r.json")
    assert (problem.code, problem.origin) == ("E-REC-006", f"{tmp_path / 'r.json'} line 2")
    problems = refuse(tmp_path, '{"name": "x",\n "data": {"sources": [{"path": "p"}]},\n "name": "y"}', name="r.json")
    assert [(p.code, p.origin.rpartition(" ")[2]) for p in problems] == [("E-REC-004", "3")]


def test_half_a_character_is_refused_wherever_it_stands(tmp_path: Path):
    rows = '"data": {"sources": [{"path": "p"}]}'
    for text, field in [
        (f'{{"name": "\\ud800", {rows}}}', "name"),
        (f'{{"name": "x", "govern": {{"jurisdiction": "a\\udc00"}}, {rows}}}', "govern.jurisdiction"),
        (f'{{"name": "x", "\\ud800": 1, {rows}}}', "'\\ud800'"),
        (f'{{"name": "x", "train": {{"method": {{"type": "lora", "\\ud800": 1}}}}, {rows}}}', "'train.method.\\ud800'"),
    ]:
        (problem,) = refuse(tmp_path, text, name="r.json")
        assert problem.field == field
    whole = refuse(tmp_path, f'{{"name": "\\ud83d\\ude00", {rows}}}', name="r.json")
    assert whole[0].got == "\U0001f600", "a whole pair is one character"


def test_another_encoding_is_refused_at_its_line(tmp_path: Path):
    (problem,) = refuse(tmp_path, b"name: x\nseed: \xe9\n")
    assert (problem.code, problem.origin) == ("E-REC-005", f"{tmp_path / 'r.yaml'} line 2")
    assert refuse(tmp_path, "name: x".encode("utf-16"))[0].code == "E-REC-005"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n" + SOURCES.encode())
    assert load_recipe(path, environment={}).recipe.name == "x"


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path):
    with pytest.raises(RecipeError, match="there is no file") as caught:
        load_recipe(tmp_path / "none.yaml", environment={})
    assert caught.value.code == "E-REC-005"
    with pytest.raises(RecipeError, match="there is a folder"):
        load_recipe(tmp_path, environment={})


def test_the_recipe_that_was_meant_is_named(tmp_path: Path):
    def read_fix(path: Path) -> str:
        with pytest.raises(RecipeError) as caught:
            load_recipe(path, environment={})
        return caught.value.problems[0].fix

    assert "recipes/banking77.yaml" in read_fix(tmp_path)
    for name in ("recipe.yaml", "rows.jsonl", "notes.json"):
        (tmp_path / name).write_text("name: x")
    assert read_fix(tmp_path).endswith(str(tmp_path / "recipe.yaml"))
    assert read_fix(tmp_path / "recipe.yml").endswith(str(tmp_path / "recipe.yaml"))
    (tmp_path / "bank\x1b[31ming.yaml").write_text("name: x")
    for unlike in ("rows.jsonl/recipe.yaml", "banking.yaml", "gone/recipe.yaml"):
        assert str(tmp_path) not in read_fix(tmp_path / unlike), "what cannot be pasted is not named either"


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999", "9" * 400, "9" * 5_000])
def test_numbers_that_are_not_finite_or_absurd_are_refused(tmp_path: Path, value: str):
    for path in ("seed", "train.epochs", "train.method.rank"):
        (problem,) = refuse(tmp_path, f"name: x\n{SOURCES}", f"{path}={value}")
        assert (problem.code, problem.field, problem.origin) == ("E-REC-002", path, "--set")
        assert len(problem.got) <= 200


@pytest.mark.parametrize(
    ("text", "field", "code"),
    [
        ("seed: true", "seed", "E-REC-002"),
        ("seed: '1'", "seed", "E-REC-002"),
        ("seed: 1.5", "seed", "E-REC-002"),
        ("seed: -1", "seed", "E-REC-002"),
        ("luthier: 2", "luthier", "E-REC-002"),
        ("train: 5", "train", "E-REC-002"),
        ("train: {method: null}", "train.method", "E-REC-002"),
        ("train: {method: [lora]}", "train.method", "E-REC-002"),
        ("train: {method: {type: 5}}", "train.method", "E-REC-002"),
        ("train: {method: {type: lora, rank: 0}}", "train.method.rank", "E-REC-002"),
        ("train: {method: {type: lora, rnak: 1}}", "train.method.rnak", "E-REC-001"),
        ("train: {method: spiel}", "train.method.type", "E-REC-010"),
        ("train: {objective: orpo}", "train.objective.type", "E-REC-010"),
        ("train: {backend: trl}", "train.backend", "E-REC-010"),
        ("train: {learning_rate: -1}", "train.learning_rate", "E-REC-002"),
        ("evaluate: {suites: task}", "evaluate.suites", "E-REC-002"),
        ("evaluate: {suites: [{type: task, metrics: [exact_mach]}]}", "evaluate.suites.0.metrics", "E-REC-011"),
        ("evaluate: {suites: [5]}", "evaluate.suites.0", "E-REC-002"),
        ("evaluate: {suites: [{type: task, on: nowhere}]}", "evaluate.suites.0.on", "E-REC-008"),
        ("evaluate: {gates: [{metric: task.f1, above: base}]}", "evaluate.gates.0.metric", "E-REC-008"),
        ("evaluate: {gates: [5]}", "evaluate.gates.0", "E-REC-002"),
        (
            "evaluate: {suites: [task], gates: [{metric: task.exact_match, above: other}]}",
            "evaluate.gates.0.above",
            "E-REC-008",
        ),
        ("deploy: {exports: [gguf]}", "deploy.exports.0.type", "E-REC-010"),
        ("deploy: {target: kubernetes}", "deploy.target.type", "E-REC-010"),
        ("govern: {jurisdiction: '${HOME}'}", "govern.jurisdiction", "E-REC-013"),
        ("plan: {launcher: nothing}", "plan.launcher", "E-REC-011"),
    ],
)
def test_one_mistake_is_one_problem_at_its_field(tmp_path: Path, text: str, field: str, code: str):
    (problem,) = refuse(tmp_path, f"name: x\n{SOURCES}{text}\n")
    assert (problem.field, problem.code) == (field, code)
    assert problem.origin == f"{tmp_path / 'r.yaml'} line 3"


@pytest.mark.parametrize(
    ("data", "field", "code"),
    [
        ("{}", "data.sources", "E-REC-003"),
        ("{sources: []}", "data.sources", "E-REC-003"),
        ("{sources: rows.jsonl}", "data.sources", "E-REC-002"),
        ("{sources: [{format: csv}]}", "data.sources.0.path", "E-REC-003"),
        ("{sources: [{path: p}], select: {type: less, fraction: 0.3}}", "data.select.type", "E-REC-010"),
        ("{sources: [{path: p}], select: {type: deft_ucs, fraction: 3}}", "data.select.fraction", "E-REC-002"),
        ("{sources: [{path: p}], operators: [toxicity]}", "data.operators.0.type", "E-REC-010"),
        ("{sources: [{path: p}], operators: [dedup]}", "data.operators.0.type", "E-REC-011"),
        ("{sources: [{path: p}], operators: all}", "data.operators", "E-REC-002"),
        ("{sources: [{path: p}], evaluation: {test: p}}", "data.evaluation.test", "E-REC-008"),
        ("{sources: [{path: p}], evaluation: {a: 5}}", "data.evaluation.a", "E-REC-002"),
        ("{sources: [{path: p}], split: {validation: 0.5, test: 0.5}}", "data.split", "E-REC-008"),
    ],
)
def test_mistakes_in_data_name_their_field(tmp_path: Path, data: str, field: str, code: str):
    (problem,) = refuse(tmp_path, f"name: x\ndata: {data}\n")
    assert (problem.field, problem.code) == (field, code)


def test_a_name_is_required(tmp_path: Path):
    (problem,) = refuse(tmp_path, SOURCES)
    assert (problem.code, problem.field) == ("E-REC-003", "name")


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("train.epochs", "E-REC-009"),
        ("=1", "E-REC-009"),
        ("train..epochs=1", "E-REC-009"),
        ("train.epochs=[", "E-REC-009"),
        ("data.sources.0.path=x", "E-REC-009"),
        ("name.x=1", "E-REC-009"),
        ("seed.x=1", "E-REC-002"),
        ("govern.jurisdiction=\udcff", "E-REC-009"),
        ("\udcff=1", "E-REC-009"),
        ("train.epoks=1", "E-REC-001"),
        ("train.epochs=many", "E-REC-002"),
        ("train.epochs={a: 1, a: 2}", "E-REC-004"),
    ],
)
def test_a_bad_override_says_so_with_its_origin(tmp_path: Path, override: str, code: str):
    problems = refuse(tmp_path, f"name: x\n{SOURCES}", override)
    assert code in [problem.code for problem in problems]
    assert all(problem.origin == "--set" for problem in problems)


def test_an_absent_option_of_a_known_name_elsewhere_says_where_it_belongs(tmp_path: Path):
    (problem,) = refuse(tmp_path, f"name: x\n{SOURCES}learning_rate: 1e-4\n")
    assert "it belongs to 'train.learning_rate'" in problem.what


def test_values_that_json_cannot_hold_are_refused():
    with pytest.raises(RecipeError, match="not set") as caught:
        load_recipe({"name": {1, 2}}, environment={})
    assert caught.value.code == "E-REC-006"


def test_the_error_crosses_process_borders_whole(tmp_path: Path):
    with pytest.raises(RecipeError) as caught:
        load_recipe({}, environment={})
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems  # noqa: S301  our own bytes
