"""A run's papers: the recipe runs again as it is written there; and one sentence tells each record."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.foundation.core.files import REAL
from luthier.foundation.recipe.resolve import load_recipe
from luthier.foundation.schema.noun import Identity, Record, Witness
from luthier.lifecycle.evidence import describe
from luthier.lifecycle.papers import PACKAGES, describe_environment, find_commit, write_papers
from tests.fixtures.example_records import make_examples

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.yaml"))
ENVIRONMENT = {"LUTHIER_DATA": "/data"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_ours_written_into_a_runs_folder_loads_as_the_same_recipe(path: Path, tmp_path: Path) -> None:
    resolved = load_recipe(path, overrides=["seed=5", "train.epochs=2"], environment=ENVIRONMENT)

    write_papers(tmp_path, resolved, fs=REAL)

    again = load_recipe(tmp_path / "recipe.yaml", environment=ENVIRONMENT)
    assert again.recipe == resolved.recipe
    assert again.recipe.seed == 5
    assert "default" not in set(again.origins.values()), "every value is written out"


def write_and_read(words: list[str], folder: Path) -> list[str]:
    """Write a recipe whose paths are these words and read it back."""
    recipe = {"name": "x", "data": {"sources": [{"path": word} for word in words]}}
    write_papers(folder, load_recipe(recipe, environment={}), fs=REAL)
    return [source.path for source in load_recipe(folder / "recipe.yaml", environment={}).recipe.data.sources]


ODD = [
    "1e5",
    "0o7",
    "0x10",
    "12e4",
    "1_000",
    "yes",
    "on",
    "~",
    "null",
    "a: b",
    "- a",
    "'\"",
    "2026-11-24",
    "#x",
    "*x",
    "☃",
]


def test_words_that_yaml_reads_otherwise_come_back_as_they_were(tmp_path: Path) -> None:
    """A folder may be called 1e5; YAML 1.1 writes that without quotes and YAML 1.2 reads a number."""
    assert write_and_read(ODD, tmp_path) == ODD


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.from_regex(r"[-+0-9a-fxoeE._:# ]{1,6}", fullmatch=True).filter(str.strip), min_size=1, max_size=9)
)
def test_no_word_comes_back_as_another(tmp_path: Path, words: list[str]) -> None:
    assert write_and_read(words, tmp_path) == words


def test_what_the_environment_holds_of_secrets_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths keep their variables; of the environment only threads and devices are told."""
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    recipe = {"name": "x", "data": {"sources": [{"path": "${LUTHIER_DATA}/rows.jsonl"}]}}
    write_papers(tmp_path, load_recipe(recipe, environment={"LUTHIER_DATA": "/home/hunter2"}), fs=REAL)

    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert set(written) == {"recipe.yaml", "origins.json", "environment.json"}
    assert not any("hunter2" in text for text in written.values())
    assert "${LUTHIER_DATA}/rows.jsonl" in written["recipe.yaml"]
    assert json.loads(written["environment.json"])["variables"]["OMP_NUM_THREADS"] == "3"
    assert json.loads(written["environment.json"])["kernels"]


def test_the_environment_names_versions_and_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from importlib.metadata import version

    monkeypatch.setattr("luthier.lifecycle.papers.PACKAGES", (*PACKAGES, "no-such-package-of-ours"))
    found = describe_environment(tmp_path)

    assert found["packages"]["torch"] == version("torch")
    assert found["packages"]["no-such-package-of-ours"] is None
    assert found["num_cores"] >= 1
    assert json.loads(json.dumps(found)) == found


def ask_git(folder: Path, *words: str) -> str:
    """Run git as itself, blind to this machine's settings."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git, the oracle, is not installed")
def test_the_commit_is_the_one_that_git_names_loose_packed_detached_and_in_a_worktree(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    (folder / "recipes").mkdir(parents=True)
    ask_git(folder, "init", "-q", "-b", "work/topic")
    assert find_commit(folder) is None, "nothing is committed yet"
    ask_git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    first = ask_git(folder, "rev-parse", "HEAD")
    assert find_commit(folder / "recipes") == first
    ask_git(folder, "pack-refs", "--all")
    assert find_commit(folder) == first
    ask_git(folder, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    ask_git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "two")
    assert find_commit(tmp_path / "tree") == ask_git(tmp_path / "tree", "rev-parse", "HEAD") != first
    ask_git(folder, "checkout", "-q", "--detach", "other")
    assert find_commit(folder) == ask_git(folder, "rev-parse", "HEAD")


def test_no_repository_and_a_torn_one_are_no_commit_and_no_error(tmp_path: Path) -> None:
    assert find_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert find_commit(tmp_path) is None
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff\xfe")
    assert find_commit(tmp_path) is None


SENTENCES = {
    "dataset_version": "train 7, validation 1, test 1 rows; 1 dropped, 1 changed",
    "model_choice": "tiny, 0.1 M parameters, licence MIT allowed",
    "plan": "7 rows, 40 steps, bf16; expects 0.0 GiB and 12 seconds",
    "run": "40 steps, loss 0.5000, validation 0.6250 at step 30; 149 tokens/s",
    "report": "INCONCLUSIVE (task.exact_match above base: INCONCLUSIVE)",
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_a_record_is_told_in_one_sentence(kind: str) -> None:
    assert describe(make_examples()[kind]) == SENTENCES[kind]


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0 seconds"), (119.4, "119 seconds"), (120, "2.0 minutes")])
def test_a_time_is_told_in_the_unit_that_suits_it(seconds: float, told: str) -> None:
    plan = make_examples()["plan"]
    changed = plan.model_copy(update={"witness": plan.witness.model_copy(update={"seconds_estimate": seconds})})

    assert describe(changed).endswith(told)


def test_a_record_of_an_unknown_kind_is_told_by_its_name() -> None:
    class Certificate(Record[Identity, Witness]):
        KIND: ClassVar[str] = "certificate"

    assert describe(Certificate(identity=Identity(), witness=Witness())) == "certificate"
