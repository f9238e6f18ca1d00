"""``init``: the template that fits the rows, refusals that leave nothing behind, and what the command prints."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.api import init
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from luthier.examples.templates.template import TEMPLATES, read_rows
from luthier.foundation.core.errors import DataError, RecipeError
from luthier.foundation.core.files import REAL
from luthier.foundation.recipe.resolve import load_recipe


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_templates_own_rows_are_taken_for_that_template(template: str, tmp_path: Path):
    """Written out as a user's file, the example rows lead back to their template."""
    (tmp_path / "mine.jsonl").write_bytes(read_rows(template))
    made = init.init_job(tmp_path / "job", data=tmp_path / "mine.jsonl")
    assert made["template"] == template


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_gives_a_recipe_that_is_right_rows_and_a_readme(template: str, tmp_path: Path):
    made = init.init_job(tmp_path / "my-job", template=template)
    assert sorted(path.name for path in (tmp_path / "my-job").iterdir()) == ["README.md", "recipe.yaml", "rows.jsonl"]
    recipe = load_recipe(made["recipe"], environment={}).recipe
    assert recipe.name == "my-job"
    assert (tmp_path / "my-job" / recipe.data.sources[0].path).read_bytes() == read_rows(template)
    assert made["next"][-1] == "luthier chat release:my-job"


def test_a_users_file_stays_where_it_is_and_the_recipe_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/mail.jsonl").write_text("".join(f'{{"body": "mail {n}", "queue": "q{n % 3}"}}\n' for n in range(30)))
    made = init.init_job(Path("job"), data=Path("in/mail.jsonl"))
    (source,) = load_recipe(made["recipe"], environment={}).recipe.data.sources
    assert source.path == "../in/mail.jsonl"
    assert source.columns == {"prompt": "body", "completion": "queue"}
    assert made["template"] == "classification"
    assert sorted(path.name for path in Path("job").iterdir()) == ["README.md", "recipe.yaml"]


def test_the_way_to_the_rows_leads_there_also_from_below_a_link(tmp_path: Path):
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far" / "deep")
    (tmp_path / "rows.jsonl").write_bytes(read_rows("chat"))
    made = init.init_job(tmp_path / "near" / "job", data=tmp_path / "rows.jsonl")
    (source,) = load_recipe(made["recipe"], environment={}).recipe.data.sources
    assert (tmp_path / "near" / "job" / source.path).read_bytes() == read_rows("chat")


def list_tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("there", {"template": "chat"}, "nothing is overwritten"),
        ("a-file", {"template": "chat"}, "nothing is overwritten"),
        ("dangling", {"template": "chat"}, "nothing is overwritten"),
        ("-x", {"template": "chat"}, "cannot have this name"),
        ("a b", {"template": "chat"}, "cannot have this name"),
        ("no/where", {"template": "chat"}, "no folder to make the job in"),
        ("new", {"template": "cat"}, "nearest is 'chat'"),
        ("new", {}, "begins with a template or with rows"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(name: str, changes: dict[str, Any], told: str, tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "a-file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    before = list_tree(tmp_path)
    with pytest.raises(RecipeError) as caught:
        init.init_job(tmp_path / name, **changes)
    problem = caught.value.problems[0]
    assert problem.code == "E-REC-014"
    assert told in problem.what
    assert problem.fix
    assert list_tree(tmp_path) == before


@pytest.mark.parametrize(
    ("line", "template", "told"),
    [
        ('{"prompt": "p", "chosen": "a", "rejected": "b"}', "chat", "they are preference rows"),
        ('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}', "tools", "0 tool"),
        ('{"prompt": "p", "completion": "c"}', "classification", "no few short names"),
        ('{"prompt": "p", "completion": "c", "label": true}', None, "nothing can be learned from judged rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_what_would(line: str, template: str | None, told: str, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(DataError) as caught:
        init.init_job(tmp_path / "job", template=template, data=tmp_path / "rows.jsonl")
    problem = caught.value.problems[0]
    assert (problem.code, told in problem.what) == ("E-TXT-012", True), problem.what
    assert problem.allowed
    assert not (tmp_path / "job").exists()


def test_a_disk_that_fills_up_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[Path] = []

    def fail_second(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "full")
        path.write_bytes(data)

    monkeypatch.setattr(REAL, "write", fail_second)
    with pytest.raises(OSError, match="no space left"):
        init.init_job(tmp_path / "job", template="chat")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_what_it_saw_and_what_comes_next(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run_guarded(luthier, ["init", "desk", "--template", "classification"]) == 0
    shown = capsys.readouterr().out
    for part in ("52 in desk/rows.jsonl", "prompt = text", "4 different", "cd desk", "luthier chat release:desk"):
        assert part in shown
    assert run_guarded(luthier, ["init", "desk", "--template", "chat", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["problems"][0]["code"] == "E-REC-014"
    assert run_guarded(luthier, ["init", "other", "--data", "desk/rows.jsonl", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["template"], made["data"]["num_labels"], made["data"]["form"]) == (
        *("classification", 4),
        "prompt_completion",
    )
