"""The Python face over real rooms: a data set from a recipe to a row's story, house-keeping, lists, a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.api import data, doctor, models, recipes, registry, runs, workspace
from luthier.api.run import run
from luthier.foundation.core.errors import LuthierError, ModelError, RecipeError
from luthier.foundation.core.progress import SilentProgress


def write_rows(path: Path, num_rows: int = 40) -> Path:
    questions = [f"What is {number} plus {number}?" for number in range(num_rows)]
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": str(2 * number)}]}
        for number, text in enumerate(questions)
    ]
    rows.append(rows[min(3, num_rows - 1)])  # one planted duplicate, on the last line
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    path = write_rows(tmp_path / "rows.jsonl")
    recipe = {"name": "sums", "data": {"sources": [{"path": str(path)}]}}
    run(recipe, until="data", workspace=tmp_path)
    return tmp_path


def test_a_recipe_runs_to_a_data_set_and_again_for_nothing(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl")
    recipe = {"name": "sums", "data": {"sources": [{"path": str(path)}]}}
    first = run(recipe, until="data", workspace=tmp_path)
    again = run(recipe, until="data", workspace=tmp_path, overrides=["evaluate.systems=[base]", "train.epochs=1"])
    other = run(recipe, until="data", workspace=tmp_path, overrides=["data.split.test=0.2"])
    assert [result.stages[0].reused for result in (first, again, other)] == [False, True, False]
    assert first.stages[0].digest == again.stages[0].digest != other.stages[0].digest
    assert first.to_json()["stages"][0].keys() == {"stage", "reused", "seconds", "digest", "evidence"}


def test_a_bad_until_is_refused_before_the_recipe_is_read():
    with pytest.raises(RecipeError, match="nearest is 'evaluate'") as caught:
        run("no-such-file.yaml", until="evaluat")
    assert caught.value.code == "E-LIF-002"


def test_the_planted_duplicate_is_in_the_report_and_in_the_rows_story(curated: Path):
    report = data.report(curated)
    dropped = {step.operator: step.dropped for step in report.waterfall}
    assert dropped["dedupe"] == 1
    assert sum(split.num_rows for split in report.splits.values()) == 40
    story = data.why(curated, "latest", "rows.jsonl:41")
    assert story.split is None
    assert [visit.operator for visit in story.visits] == ["dedupe"]
    kept = data.why(curated, report.digest[:12], "rows.jsonl:4")
    assert kept.split in report.splits
    assert data.used_by(curated, "latest")["used_by"] == []


def test_questions_about_what_is_not_there_name_what_to_do(tmp_path: Path, curated: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for ask in (lambda: data.report(empty), lambda: data.report(curated, "0" * 12), lambda: data.used_by(curated, "x")):
        with pytest.raises(LuthierError) as caught:
            ask()
        assert caught.value.problems[0].fix
    assert not (empty / ".luthier").exists()


def test_a_file_is_checked_and_shown_without_a_recipe(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl")
    with path.open("a") as stream:
        stream.write("{broken\n")
    found = data.check(path)
    assert (found.form, found.num_problems, found.is_good) == ("messages", 1, False)
    rows = data.show(path, num_rows=2)
    assert [row["messages"][1]["content"] for row in rows] == ["0", "2"]


def test_status_and_gc_tell_what_a_workspace_holds(curated: Path, tmp_path: Path):
    status = workspace.status(curated)
    assert [record["kind"] for record in status["records"]] == ["dataset_version"]
    assert (status["unfinished"], status["running"], status["audit_break"]) == ([], [], None)
    swept = workspace.gc(curated, days=0, is_dry_run=True)
    assert swept["is_dry_run"]
    workspace.gc(curated, days=0)
    assert sum(split.num_rows for split in data.report(curated).splits.values()) == 40, "what is named stays"
    elsewhere = workspace.gc(tmp_path / "elsewhere")
    assert (elsewhere["blobs"], elsewhere["freed_bytes"]) == (0, 0)
    with pytest.raises(RecipeError):
        workspace.gc(curated, days=float("nan"))


def test_a_failed_stage_is_listed_as_unfinished_with_its_reason(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": []}\n')
    with pytest.raises(LuthierError):
        run({"name": "x", "data": {"sources": [{"path": str(path)}]}}, until="data", workspace=tmp_path)
    (unfinished,) = workspace.status(tmp_path)["unfinished"]
    assert (unfinished["stage"], unfinished["state"]) == ("data", "failed")
    assert unfinished["detail"]


def test_a_workspace_without_runs_lists_none_and_knows_none(curated: Path):
    assert runs.list_runs(curated) == []
    with pytest.raises(RecipeError, match="there is no run"):
        runs.logs(curated, "abcd")
    with pytest.raises(RecipeError, match="there is no run"):
        runs.logs(curated, "")


def test_every_family_lists_its_plugins_with_a_summary_and_a_source():
    for family in registry.list_families():
        for plugin in registry.list_plugins(family):
            assert plugin["summary"], (family, plugin["name"])
            assert plugin["source"]
    assert "rank" in next(plugin["options"] for plugin in registry.list_plugins("methods") if plugin["name"] == "lora")


def test_every_code_can_be_explained_in_any_case():
    assert registry.explain("e-rec-001")["title"] == "Unknown recipe key"


def test_the_doctor_says_what_is_lacking_and_mends_it(tmp_path: Path):
    findings = {f.name: f for f in doctor.examine(tmp_path, environment={"LUTHIER_CACHE": str(tmp_path / "cache")})}
    assert findings["python"].state == "ok"
    assert findings["torch"].state == "ok"
    assert findings["default base"].state == "note"
    assert findings["default base"].fix == "luthier model pull smollm2-135m-instruct"
    assert findings["workspace"].state == "note"
    lacking = doctor.examine(tmp_path, environment={"LUTHIER_DATA": str(tmp_path / "none"), "HOME": str(tmp_path)})
    assert [finding.name for finding in lacking if finding.state == "lacking"] == ["LUTHIER_DATA"]
    assert not doctor.is_able(lacking)
    assert doctor.is_able(list(findings.values()))


def test_a_damaged_workspace_is_a_finding_not_a_crash(tmp_path: Path):
    (tmp_path / ".luthier").mkdir()
    (tmp_path / ".luthier" / "luthier.db").write_bytes(b"not a database at all, but long enough to be read" * 40)
    finding = doctor.examine(tmp_path, environment={"HOME": str(tmp_path)})[-1]
    assert (finding.name, finding.state) == ("workspace", "lacking")
    assert finding.fix


def test_the_catalogue_is_listed_with_what_is_here(tmp_path: Path):
    listed = models.list_models(environment={"LUTHIER_CACHE": str(tmp_path)})
    assert {(model["licence"], model["is_here"]) for model in listed} == {("Apache-2.0", False)}
    with pytest.raises(ModelError):
        models.show_model("no-such-base")


def test_recipes_check_and_show_agree_on_what_was_written():
    recipe = {"name": "x", "seed": 4, "data": {"sources": [{"path": "p"}]}}
    checked, shown = recipes.check(recipe), recipes.show(recipe)
    written = [value["key"] for value in shown["values"] if value["origin"] != "default"]
    assert written == ["name", "seed", "data.sources.0.path"]
    assert checked["num_values"] - checked["num_defaults"] == len(written)
    assert recipes.show(shown["recipe"])["recipe"] == shown["recipe"]


def test_a_folder_is_judged_by_safety_and_licence_before_it_is_loaded(tmp_path: Path):
    from tests.fixtures.tiny_models import build_tiny

    folder = build_tiny("llama", tmp_path / "tiny")
    found = models.check_model(str(folder), license="MIT")
    assert (found["is_safe"], found["licence"]["verdict"]) == (True, "allowed")
    assert [problem["code"] for problem in models.check_model(str(folder))["problems"]] == ["E-MOD-008"]
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    found = models.check_model(str(folder), license="MIT")
    assert (found["is_safe"], [problem["code"] for problem in found["problems"]]) == (False, ["E-MOD-001"])


def test_a_tiny_model_answers_a_file_and_a_seed_repeats_its_draws(tmp_path: Path):
    from luthier.api.generate import Generation, generate
    from tests.fixtures.tiny_models import build_tiny

    folder = build_tiny("llama", tmp_path / "tiny")
    rows = write_rows(tmp_path / "rows.jsonl", num_rows=3)
    said = SilentProgress()
    drawn = Generation(max_new_tokens=4, temperature=1.0, seed=7, num_rows=2)
    first = generate(str(folder), rows, workspace=tmp_path, generation=drawn, progress=said)
    assert [answer["reference"] for answer in first] == ["0", "2"]
    assert all(answer["num_tokens"] <= 4 for answer in first)
    assert generate(str(folder), rows, workspace=tmp_path, generation=drawn) == first
    with pytest.raises(RecipeError) as caught:
        generate("no-such-model", rows, workspace=tmp_path)
    assert caught.value.code == "E-LIF-007"
    with pytest.raises(RecipeError) as caught:
        generate(str(folder), rows, workspace=tmp_path, generation=Generation(max_new_tokens=0))
    assert caught.value.code == "E-REC-002"
    for number in (-1, 0):  # a slice would take -1 for all but the last
        with pytest.raises(RecipeError, match="num_rows"):
            generate(str(folder), rows, workspace=tmp_path, generation=Generation(num_rows=number))


def test_two_tiny_models_are_compared_on_the_same_questions(tmp_path: Path):
    from luthier.api.compare import Comparing, compare
    from tests.fixtures.tiny_models import build_tiny

    one = build_tiny("llama", tmp_path / "one")
    other = build_tiny("llama", tmp_path / "other", seed=1)
    rows = write_rows(tmp_path / "rows.jsonl", num_rows=12)
    wanted = Comparing(metrics=["exact_match", "token_f1"], max_new_tokens=3, max_questions=8)
    same = compare(str(one), str(one), rows, workspace=tmp_path, comparing=wanted)
    assert [(item["metric"], item["value"], item["p"]) for item in same["differences"]] == [
        ("exact_match", 0.0, 1.0),
        ("token_f1", 0.0, 1.0),
    ]
    assert "no difference" in same["verdicts"]["exact_match"]
    assert len(same["answers"]) == 8
    apart = compare(str(one), str(other), rows, workspace=tmp_path, comparing=wanted)
    assert apart["answers"].keys() == same["answers"].keys(), "which questions are drawn depends on the seed alone"
    with pytest.raises(RecipeError) as caught:
        compare(str(one), str(other), rows, workspace=tmp_path, comparing=Comparing(metrics=["exact_mach"]))
    assert caught.value.code == "E-REC-011"


@pytest.mark.parametrize(
    ("value", "p", "higher_is_better", "told"),
    [
        (0.2, 0.01, True, "the second is better (p 0.01)"),
        (-0.2, 0.01, True, "the second is worse (p 0.01)"),
        (-0.2, 0.01, False, "the second is better (p 0.01)"),
        (0.2, 0.06, True, "no difference is shown (p 0.06); 1,200 rows would settle it"),
    ],
)
def test_a_verdict_follows_the_sign_the_direction_and_the_p(value: float, p: float, higher_is_better: bool, told: str):
    from luthier.api.compare import give_verdict
    from luthier.foundation.schema.report import Difference

    item = Difference(
        metric="m",
        first="a",
        second="b",
        value=value,
        interval=(-1, 1),
        p=p,
        test="sign_flip",
        n=100,
        clusters=100,
        discordant=9,
        detectable=0.1,
        needed=1200,
        higher_is_better=higher_is_better,
    )
    assert give_verdict(item) == told


def test_masks_cut_a_row_into_what_is_trained_and_what_is_not(tmp_path: Path):
    from tests.fixtures.tiny_models import build_tiny

    folder = build_tiny("llama", tmp_path / "tiny")
    rows = write_rows(tmp_path / "rows.jsonl", num_rows=2)
    (row, _) = data.show_masks(rows, num_rows=2, base=str(folder))
    trained = "".join(piece["text"] for piece in row["pieces"] if piece["is_trained"])
    whole = "".join(piece["text"] for piece in row["pieces"])
    assert trained.startswith("0")
    assert "What is" not in trained
    assert "What is 0 plus 0?" in whole
    assert 0 < row["num_trained"] < row["num_tokens"]
