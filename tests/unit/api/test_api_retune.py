"""The next run's recipe: the release's own, its files proven, and what people said since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.api import feedback, retune
from luthier.api.recipes import resolve
from luthier.api.run import run
from luthier.foundation.core.errors import LuthierError, RecipeError
from tests.fixtures.fake_stages import open_quick_folder
from tests.fixtures.released_desk import RUN_ID, ReleasedDesk, add_release, make_release, make_released_desk


@pytest.fixture
def desk() -> Iterator[ReleasedDesk]:
    with open_quick_folder() as folder:
        yield make_released_desk(folder)


def correct(desk: ReleasedDesk, number: int, *, by: str = "Ann", release: str | None = None) -> None:
    asked = [{"role": "user", "content": f"why {number}"}]
    said = {"response_id": desk.serve(number, release=release), "correction": f"because {number}", "messages": asked}
    (piece,) = feedback.add(desk.root, said)["feedback"]
    feedback.review(desk.root, [piece["id"]], "accepted", by=by)


def refuse(act: Any) -> Any:
    with pytest.raises(LuthierError) as caught:
        act()
    problem = caught.value.problems[0]
    assert isinstance(caught.value, RecipeError)
    assert problem.got
    assert problem.allowed
    assert problem.fix
    return problem


def test_the_next_recipe_is_the_releases_own_with_one_more_source(desk: ReleasedDesk) -> None:
    correct(desk, 1)
    correct(desk, 2, by="Bob")
    drafted = retune.draft(desk.root)

    assert (drafted["run"], drafted["num_rows"], drafted["reviewers"]) == (RUN_ID, 2, ["Ann", "Bob"])
    old = resolve(desk.root / "r.yaml").to_mapping()
    new = resolve(Path(drafted["recipe"])).to_mapping()
    assert {key: new[key] for key in new if key != "data"} == {key: old[key] for key in old if key != "data"}
    first, second = new["data"]["sources"]
    assert first == {**old["data"]["sources"][0], "path": str(desk.root / "rows.jsonl")}
    assert (second["path"], second["basis"]) == ("corrections.jsonl", "feedback, reviewed by Ann, Bob")


def test_the_data_stage_takes_the_next_recipe_and_holds_the_corrections(desk: ReleasedDesk) -> None:
    correct(desk, 1)
    drafted = retune.draft(desk.root)
    data = run(drafted["recipe"], until="data", workspace=desk.root).stages[0].record

    assert [source.num_rows for source in data.identity.sources] == [40, 1]
    assert data.identity.sources[0].digest == desk.data.identity.sources[0].digest
    rows = [row for split in data.identity.splits.values() for row in desk.workspace.blobs.get_rows(split.blob)]
    assert "because 1" in {row.messages[-1].text for row in rows}


def test_drafting_again_is_the_same_folder_and_another_word_is_another(desk: ReleasedDesk) -> None:
    correct(desk, 1)
    first = retune.draft(desk.root, "desk")
    assert retune.draft(desk.root, desk.release.digest[:8]) == first
    correct(desk, 2)
    assert retune.draft(desk.root, f"desk@{desk.release.digest[:12]}")["folder"] != first["folder"]


def test_feedback_on_another_name_or_not_accepted_is_left_out_and_on_an_older_release_is_not(
    desk: ReleasedDesk,
) -> None:
    older = make_release(desk.release.identity.parents["train"], base="older")
    other = make_release(desk.release.identity.parents["train"], name="other")
    for record in (older, other):
        desk.workspace.records.put(record, stage="deploy", cache_key="")
    correct(desk, 1, release=older.digest)
    correct(desk, 2, release=other.digest)
    feedback.add(desk.root, {"response_id": desk.serve(3), "rating": "down"})

    assert retune.draft(desk.root, desk.release.digest)["num_rows"] == 1


def test_what_was_learnt_from_is_not_learnt_from_again(desk: ReleasedDesk) -> None:
    correct(desk, 1)
    second = add_release(desk.root, Path(retune.draft(desk.root)["recipe"]), "ba9876543210")
    assert refuse(lambda: retune.draft(desk.root)).code == "E-MON-025", "the newest release knows it"

    correct(second, 2, by="Bob")
    drafted = retune.draft(desk.root)
    assert drafted["reviewers"] == ["Bob"], "who accepted what is new"
    assert (drafted["run"], drafted["num_rows"], len(drafted["sources"])) == ("ba9876543210", 1, 3)
    data = run(drafted["recipe"], until="data", workspace=desk.root).stages[0].record
    assert [source.num_rows for source in data.identity.sources] == [40, 1, 1]


def test_nothing_accepted_and_no_release_are_said_plainly(desk: ReleasedDesk, tmp_path: Path) -> None:
    assert refuse(lambda: retune.draft(desk.root)).code == "E-MON-025"
    problem = refuse(lambda: retune.draft(tmp_path / "empty"))
    assert (problem.code, problem.fix) == ("E-MON-026", "luthier run RECIPE")
    assert refuse(lambda: retune.draft(desk.root, "nobody")).code.startswith("E-DEP-")


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_source_that_is_not_what_the_release_saw_is_refused(desk: ReleasedDesk, damage: str) -> None:
    correct(desk, 1)
    path = desk.root / "rows.jsonl"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(path.read_text() + "\n")
    problem = refuse(lambda: retune.draft(desk.root))
    assert (problem.code, problem.got) == ("E-MON-026", str(path))
    assert not (desk.root / ".luthier" / "retune").exists()


def test_a_recipe_that_was_swept_with_its_run_is_taken_from_the_release(desk: ReleasedDesk) -> None:
    correct(desk, 1)
    own = desk.root / ".luthier" / "runs" / RUN_ID / "recipe.yaml"
    before = retune.draft(desk.root, to=desk.root / "before")
    kept = desk.root / ".luthier" / "releases" / desk.release.digest / "recipe.yaml"
    kept.parent.mkdir(parents=True, exist_ok=True)
    own.rename(kept)
    after = retune.draft(desk.root, to=desk.root / "after")
    assert [Path(found["recipe"]).read_bytes() for found in (before, after)] == [
        Path(before["recipe"]).read_bytes()
    ] * 2


def test_a_recipe_that_was_swept_can_be_given(desk: ReleasedDesk) -> None:
    correct(desk, 1)
    (desk.root / ".luthier" / "runs" / RUN_ID / "recipe.yaml").unlink()
    problem = refuse(lambda: retune.draft(desk.root))
    assert (problem.code, problem.fix) == ("E-MON-026", "luthier retune --recipe FILE")
    assert retune.draft(desk.root, recipe=desk.root / "r.yaml")["num_rows"] == 1
    other = desk.root / "other.yaml"
    other.write_text((desk.root / "r.yaml").read_text().replace("sources:", "sources:\n  - path: more.jsonl"))
    problem = refuse(lambda: retune.draft(desk.root, recipe=other))
    assert (problem.code, problem.got) == ("E-MON-026", "2 files")


def test_a_folder_that_is_there_is_not_written_over(desk: ReleasedDesk) -> None:
    correct(desk, 1)
    (desk.root / "next").mkdir()
    assert refuse(lambda: retune.draft(desk.root, to=desk.root / "next")).code == "E-REC-014"
    assert list((desk.root / "next").iterdir()) == []


def test_a_release_of_objective_dpo_learns_from_preferences() -> None:
    with open_quick_folder() as folder:
        desk = make_released_desk(folder, objective="dpo")
        correct(desk, 1)
        assert refuse(lambda: retune.draft(desk.root)).code == "E-MON-025", "a correction is no pair"
        said = {
            "response_id": desk.serve(2),
            "preferred": "it is two",
            "rejected": "no idea",
            "messages": [{"role": "user", "content": "what is two"}],
        }
        (piece,) = feedback.add(desk.root, said)["feedback"]
        feedback.review(desk.root, [piece["id"]], "accepted", by="Ann")
        drafted = retune.draft(desk.root)

        assert (drafted["kind"], drafted["num_rows"]) == ("preference", 1)
        source = resolve(Path(drafted["recipe"])).to_mapping()["data"]["sources"][-1]
        assert (source["path"], source["form"]) == ("preferences.jsonl", "preference")
        data = run(drafted["recipe"], until="data", workspace=desk.root).stages[0].record
        assert data.identity.sources[-1].num_rows == 1
