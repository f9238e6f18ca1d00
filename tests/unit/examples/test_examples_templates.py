"""The templates: enough rows of our own, varied, and recipes that say what the rows need."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from luthier.examples.templates.recipe import (
    LARGEST_ANSWER,
    Job,
    choose_answer_tokens,
    choose_epochs,
    choose_length,
    choose_split,
    render_readme,
    render_recipe,
)
from luthier.examples.templates.template import TEMPLATES, read_rows
from luthier.foundation.recipe.resolve import load_recipe


def read_lines(template: str) -> list[dict]:
    return [json.loads(line) for line in read_rows(template).splitlines()]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_has_thirty_to_sixty_different_rows(template: str):
    lines = read_rows(template).splitlines()
    assert 30 <= len(lines) <= 60
    assert len(set(lines)) == len(lines)


def test_the_classes_of_the_example_are_as_many_of_each():
    assert set(Counter(row["label"] for row in read_lines("classification")).values()) == {13}


def test_the_calls_of_the_example_take_their_arguments_from_the_request():
    rows = read_lines("tools")
    called = [row["messages"] for row in rows if "tool_calls" in row["messages"][-1]]
    assert 0.7 < len(called) / len(rows) < 0.95, "some requests are to be asked back"
    for _, request, answer in called:
        for value in json.loads(answer["tool_calls"][0]["function"]["arguments"]).values():
            assert str(value) in request["content"]


def make_job(**changes: object) -> Job:
    settings = {
        "name": "a-job",
        "template": "chat",
        "path": "rows.jsonl",
        "licence": "MIT",
        "form": "messages",
        "columns": {},
        "num_rows": 300,
        "longest_row": 400,
        "longest_answer": 60,
    }
    return Job(**(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "path", "column"),
    [
        ("123", "a: b.csv", "yes"),
        ("no", "#x/ä .jsonl", "it's, {so}"),
        ("1e3", '"q".csv', "null"),
        ("ok", "- a", "a: b"),
    ],
)
def test_names_paths_and_columns_that_yaml_would_misread_come_back_as_they_were(tmp_path, name, path, column):
    job = make_job(name=name, path=path, form="prompt_completion", columns={"prompt": column, "completion": "b"})
    (tmp_path / "recipe.yaml").write_text(render_recipe(job))
    recipe = load_recipe(tmp_path / "recipe.yaml", environment={}).recipe
    (source,) = recipe.data.sources
    assert (recipe.name, source.path, source.columns["prompt"]) == (name, path, column)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_loads_for_rows_few_and_many(template: str, tmp_path):
    for num_rows in (1, 40, 300, 1_000_000):
        job = make_job(template=template, form=TEMPLATES[template].form, num_rows=num_rows, longest_row=99_000)
        (tmp_path / "recipe.yaml").write_text(render_recipe(job))
        split = load_recipe(tmp_path / "recipe.yaml", environment={}).recipe.data.split
        assert split.validation + split.test < 0.5
        assert split.test * num_rows <= 201


def test_the_readme_names_the_three_next_lines_and_the_way_when_there_is_no_release():
    text = render_readme(make_job())
    for line in ("luthier plan recipe.yaml", "luthier run recipe.yaml", "luthier chat release:a-job", "chat run:ID"):
        assert line in text


def test_sizes_are_what_the_rows_need():
    assert choose_split(300) == (0.1, 0.2)
    assert choose_split(40) == (0.1, 0.3)
    assert choose_split(100_000) == (0.001, 0.002)
    assert choose_length(100) == (256, True), "100 characters are at most 40 tokens, with 64 for the template"
    assert choose_length(2_000) == (1024, True), "at most 800 tokens, with 64 for the template"
    assert choose_length(1_000_000) == (2048, False)
    assert choose_answer_tokens(3) == 16
    assert choose_answer_tokens(100) == 48, "40 tokens and two, in eights"
    assert choose_answer_tokens(10_000) == LARGEST_ANSWER
    assert (choose_epochs(40), choose_epochs(300), choose_epochs(10_000)) == (6, 3, 1)
