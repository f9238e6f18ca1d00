"""Recipes that cannot be, typed into the real command line: all mistakes at once, at their lines, nothing lost."""

from __future__ import annotations

import json
import re

import pytest

from tests.fixtures.bad_input import GOOD, Desk, check_nothing_lost, check_refusal, check_words, watch

pytestmark = pytest.mark.fault

TEN_MISTAKES = """\
luthier: 2
name: no spaces please
nmae: x
seed: -1
data: {sources: [{path: rows.jsonl, formatt: jsonl}], split: {validation: 0.6, test: 0.6}}
model: {quantise: int3}
plan: {probes: 0}
train: {learning_rate: fast, method: {type: lorra}}
evaluate: {gates: [{metric: task.exact_match, above: base}]}
"""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS: dict[str, tuple[str | bytes, str, tuple[str, ...]]] = {
    "an empty file": ("", "E-REC-006", ("bad.yaml line 1", "nothing")),
    "a list": ("- a\n- b\n", "E-REC-006", ("one mapping of keys",)),
    "text of another encoding": ("name: café\n".encode("latin-1"), "E-REC-005", ("iconv -f LATIN1", "line 1")),
    "a tab": ("luthier: 1\n\tname: x\n", "E-REC-006", ("line 2", "spaces, not tabs")),
    "two documents": (GOOD + "---\nname: two\n", "E-REC-006", ("one document",)),
    "a bomb of aliases": (BOMB, "E-REC-007", ("unfold", "10000", "line 5")),
    "a tower of lists": ("name: " + "[" * 1000 + "]" * 1000, "E-REC-007", ("40 levels",)),
    "a tag that would run code": (GOOD + "x: !!python/object/apply:os.system [ls]\n", "E-REC-006", ("line 16",)),
    "a key given twice": (GOOD + "name: other\n", "E-REC-004", ("bad.yaml line 2", "bad.yaml line 16")),
    "nine megabytes": (b"# " + b"x" * (9 << 20), "E-REC-007", ("too large", "data.sources")),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_that_is_no_recipe_is_one_clear_error(desk: Desk, case: str) -> None:
    text, code, parts = TEXTS[case]
    desk.write("bad.yaml", text)
    check_refusal(desk, ["run", "bad.yaml", "--until", "data"], codes=[code], parts=parts)


def test_ten_mistakes_are_told_at_once_each_with_its_line(desk: Desk) -> None:
    desk.write("bad.yaml", TEN_MISTAKES)
    expected = [
        ("luthier", "E-REC-002", 1),
        ("name", "E-REC-002", 2),
        ("nmae", "E-REC-001", 3),
        ("seed", "E-REC-002", 4),
        ("data.sources.0.formatt", "E-REC-001", 5),
        ("data.split", "E-REC-008", 5),
        ("model.quantise", "E-REC-002", 6),
        ("plan.probes", "E-REC-002", 7),
        ("train.method.type", "E-REC-011", 8),
        ("train.learning_rate", "E-REC-002", 8),
        ("evaluate.gates.0.metric", "E-REC-008", 9),
    ]
    for words in (["run", "bad.yaml", "--until", "data"], ["recipe", "check", "bad.yaml"], ["plan", "bad.yaml"]):
        problems = check_refusal(desk, words, codes=[code for _, code, _ in expected], parts=["nearest is 'name'"])
        found = [(p["field"], p["code"], int(p["origin"].rpartition(" ")[2])) for p in problems]
        assert found == expected


def test_a_hundred_thousand_unknown_keys_are_counted_not_printed(desk: Desk) -> None:
    desk.write("bad.yaml", GOOD + "".join(f"key{number}: 1\n" for number in range(100_000)))
    before = desk.keep()
    words = ("run", "bad.yaml", "--until", "data")
    spoken, shown = desk.call(*words), desk.call(*words, "--json")
    check_words(spoken, shown, exit_code=2, codes=["E-REC-001"] * 21, parts=["99980 more unknown keys"])
    assert len(spoken.err) < 20_000
    check_nothing_lost(desk, before)


VALUES: dict[str, tuple[tuple[str, str], str, tuple[str, ...]]] = {
    "a rate that is not a number": (("1e-3", ".nan"), "E-REC-002", ("finite", "line 9", "learning_rate: auto")),
    "an infinite rate": (("1e-3", ".inf"), "E-REC-002", ("finite", "got:     inf")),
    "a negative rate": (("1e-3", "-1"), "E-REC-002", ("above 0",)),
    "a negative rank": (("rank: 2", "rank: -4"), "E-REC-002", ("train.method.rank", "1 or more")),
    "a number of probes below one": (("probes: 2", "probes: -2"), "E-REC-002", ("plan.probes", "1 or more")),
    "a number of evaluations below none": (("evaluations: 1", "evaluations: -3"), "E-REC-002", ("0 or more",)),
    "a share that is not a number": (
        ("sources:", "split: {test: .nan}\n  sources:"),
        "E-REC-002",
        ("data.split.test", "finite"),
    ),
    "an unknown method": (("type: lora", "type: lorax"), "E-REC-011", ("nearest is 'lora'", "luthier list methods")),
    "an unknown metric": (("exact_match", "exact_mach"), "E-REC-011", ("nearest is 'exact_match'", "line 15")),
    "an unknown suite": (("type: task", "type: tusk"), "E-REC-011", ("task, forgetting",)),
    "an objective that is not built": (
        ("max_steps: 2", "objective: orpo\n  max_steps: 2"),
        "E-REC-010",
        ("'orpo'", "train.objective: dpo"),
    ),
    "quantisation, which is not built": (("type: lora", "type: qlora"), "E-REC-010", ("model.quantise: none",)),
    "a target, which is not built": (
        ("evaluate:", "deploy: {target: kubernetes}\nevaluate:"),
        "E-REC-010",
        ("'kubernetes'",),
    ),
    "a gate on a metric that nobody measures": (
        ("max_new_tokens: 4}]", "max_new_tokens: 4}]\n  gates: [{metric: task.accuracy, above: base}]"),
        "E-REC-008",
        ("task.accuracy", "metric: task.exact_match", "line 16"),
    ),
    "a gate without a rule": (
        ("max_new_tokens: 4}]", "max_new_tokens: 4}]\n  gates: [{metric: task.exact_match}]"),
        "E-REC-008",
        ("exactly one", "above: base"),
    ),
    "a suite on rows that nobody names": (("on: test", "on: dev"), "E-REC-008", ("'dev'", "validation, test")),
    "a variable that is no path": (
        ("license: LicenseRef-own}]", 'basis: "${API_TOKEN}"}]'),
        "E-REC-013",
        ("${API_TOKEN}", "paths only"),
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_that_cannot_be_is_refused_at_its_line_with_what_would_do(desk: Desk, case: str) -> None:
    change, code, parts = VALUES[case]
    desk.write_recipe(change)
    words = ["run", "bad.yaml", "--until", "data"]
    (problem,) = check_refusal(desk, words, codes=[code], parts=parts, env={"API_TOKEN": "tk-0123456789"})
    assert re.fullmatch(r"bad\.yaml line \d+", problem["origin"])
    assert "tk-0123456789" not in json.dumps(problem)


@pytest.mark.parametrize("path", ["path: rows.jsonl", "base: base"])
def test_an_unset_variable_is_one_sentence_and_exit_code_4(desk: Desk, path: str) -> None:
    key, _, place = path.partition(": ")
    recipe = desk.write_recipe((path, f'{key}: "${{LUTHIER_DATA}}/{place}"'))
    words = ["run", recipe, "--until", "train"]
    parts = ["export LUTHIER_DATA=", "LUTHIER_DATA is not set"]
    check_refusal(desk, words, codes=["E-ENV-002"], exit_code=4, parts=parts, env={"LUTHIER_DATA": None})
    assert desk.call(*words, env={"LUTHIER_DATA": str(desk.folder)}).code == 0, "the fix works"


SECRETS = {
    "in a key of no section": ("recipe", "max_steps: 2", "api_key: sk-verysecret42\n  max_steps: 2"),
    "in a line that is no YAML": ("recipe", "max_steps: 2", 'password: "sk-verysecret42" oops: x'),
    "in a value of the wrong shape": ("recipe", "license: LicenseRef-own}\n", "license: {token: sk-verysecret42}}\n"),
    "in an override": ("--set", "api_key sk: =", "api_key: sk-verysecret42"),
}


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_in_a_recipe_is_refused_and_never_printed_or_stored(desk: Desk, case: str) -> None:
    kind, old, new = SECRETS[case]
    words = ["run", "good.yaml", "--until", "data", "--set", new]
    if kind == "recipe":
        words = ["run", desk.write_recipe((old, new)), "--until", "data"]
    before = desk.keep()
    spoken, shown = desk.call(*words), desk.call(*words, "--json")
    code = shown.problems[0]["code"]
    assert code in {"E-REC-001", "E-REC-002", "E-REC-006", "E-REC-009"}
    check_words(spoken, shown, exit_code=2, codes=[problem["code"] for problem in shown.problems])
    assert "sk-verysecret42" not in spoken.err + shown.err + shown.out
    check_nothing_lost(desk, before)
    kept = [path for path in (desk.folder / ".luthier").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"sk-verysecret42" in path.read_bytes()]


@pytest.mark.parametrize(
    ("stage", "code", "parts"),
    [
        ("nonsense", "E-LIF-002", ("data, model, plan, train, evaluate", "'nonsense'")),
        ("deplyo", "E-LIF-002", ("nearest is 'deploy'", "--until deploy")),
    ],
)
def test_a_stage_that_cannot_be_reached_is_refused_before_any_runs(
    desk: Desk, stage: str, code: str, parts: tuple[str, ...]
) -> None:
    check_refusal(desk, ["run", "good.yaml", "--until", stage], codes=[code], parts=parts)


USAGE: dict[str, tuple[list[str], str, tuple[str, ...]]] = {
    "an unknown command": (["trane", "good.yaml"], "E-REC-014", ("nearest is 'train'", "luthier trane good.yaml")),
    "an unknown option": (["run", "good.yaml", "--untill", "data"], "E-REC-014", ("--until", "luthier run --help")),
    "no recipe": (["run"], "E-REC-014", ("RECIPE",)),
    "a recipe that is not there": (["run", "nothing.yaml"], "E-REC-005", ("nothing.yaml",)),
    "a folder as a recipe": (["run", "base"], "E-REC-005", ("a folder",)),
    "an override without a value": (["plan", "good.yaml", "--set", "train.epochs"], "E-REC-009", ("--set train.",)),
    "an override of no key": (["plan", "good.yaml", "--set", "train.epoch=1"], "E-REC-001", ("nearest is 'epochs'",)),
    "a code that is none": (["explain", "NO-CODE"], "E-REC-014", ("NO-CODE", "E-REC-001")),
    "a family that is none": (["list", "nonsense"], "E-REC-011", ("operators", "luthier list methods")),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_command_that_cannot_be_understood_is_exit_code_2_with_a_command_that_can(desk: Desk, case: str) -> None:
    words, code, parts = USAGE[case]
    check_refusal(desk, words, codes=[code], parts=parts)


@pytest.mark.parametrize("case", ["ten mistakes", "a variable", "an unknown plug-in"])
def test_errors_of_a_recipe_end_their_process_before_torch_is_imported(desk: Desk, case: str) -> None:
    if case == "ten mistakes":
        desk.write("bad.yaml", TEN_MISTAKES)
        ended = watch(desk, "run", "bad.yaml", "--json", exit_code=2, code="E-REC-001")
        assert len(ended.problems) == 11
    elif case == "a variable":
        recipe = desk.write_recipe(("path: rows.jsonl", 'path: "${LUTHIER_NOWHERE}/rows.jsonl"'))
        watch(desk, "train", recipe, exit_code=4, code="E-ENV-002")
    else:
        watch(desk, "plan", desk.write_recipe(("exact_match", "exact_mach")), exit_code=2, code="E-REC-011")
