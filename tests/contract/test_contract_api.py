"""The Python face's contract: every public function of ``luthier.api`` with its parameters, and what options hold.

A change here is a change for everybody's scripts. New parameters are keyword-only and have defaults.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import luthier.api
from luthier.lifecycle.result import CorridorResult, StageResult

# Parameters after `*` are named by the caller; `=` has a default.
FUNCTIONS = {
    "compare.compare": "first, second, path, *, workspace, comparing=, progress=",
    "compare.compare_preferences": "first, second, rows, *, workspace, comparing=, progress=",
    "compare.compare_rows": "first, second, rows, *, workspace, comparing=, progress=",
    "compare.give_verdict": "item",
    "addresses.is_address": "ref",
    "addresses.match_keys": "refs, names",
    "addresses.open_address": "ref, *, api_key_env=",
    "addresses.read_key": "variable, environment",
    "addresses.stream_turn": "client, messages, settings",
    "data.check": "path, *, format=, form=",
    "data.report": "folder, record=",
    "data.select": "path, *, type, fraction, seed=, form=, output=",
    "data.show": "path, *, num_rows=, form=",
    "data.show_masks": "path, *, num_rows=, form=, base=, train_on=",
    "data.used_by": "folder, record",
    "data.why": "folder, record, row",
    "demo.demo": "wanted, *, workspace, progress=",
    "demo.describe_gain": "report",
    "demo.find_drift": "corridor, files, workspace",
    "demo.find_peaks": "corridor",
    "demo.list_entries": "corridor, workspace, train",
    "demo.list_overrides": "wanted",
    "demo.require_base": "overrides",
    "demo.run_asked_controls": "wanted, corridor, files, run",
    "demo.write_files": "folder, seed, progress",
    "demo_answers.list_answers_shown": "result, facts, *, wanted",
    "demo_controls.run_controls": "train, *, num_examples, seed, run",
    "demo_controls.shuffle_answers": "lines, *, seed",
    "demo_memory.measure_family": "root, *, above=, proc=",
    "demo_page.render": "result, facts",
    "demo_planted.judge_planted": "labels, entries, *, operators",
    "demo_planted.read_labels": "path",
    "demo_planted.to_json": "found",
    "doctor.examine": "folder, *, environment=",
    "doctor.is_able": "findings",
    "feedback.add": "folder, value",
    "feedback.add_file": "folder, path",
    "feedback.collect": "folder, target, *, kind=",
    "feedback.list_feedback": "folder, *, state=, limit=",
    "feedback.review": "folder, ids, decision, *, by",
    "generate.generate": "ref, path, *, workspace, generation=, progress=",
    "generate.locate_base": "base",
    "generate.open_files": "reference, workspace",
    "generate.open_model": "ref, workspace, *, api_key_env=",
    "generate.read_conversations": "path, *, form=",
    "govern.approve": "folder, report, *, by, reason, is_override=",
    "govern.card": "folder, text",
    "govern.lineage": "folder, text",
    "govern.list_audit": "folder, *, last=",
    "govern.verify_audit": "folder, *, head=",
    "init.choose_template": "seen",
    "init.init_job": "folder, *, template=, data=",
    "init.list_templates": "",
    "models.check_model": "base, *, use=, license=",
    "models.list_models": "*, environment=",
    "models.pull_model": "name, *, progress=, environment=",
    "models.show_model": "name, *, environment=",
    "monitor.drift": "traffic, *, workspace, watching",
    "monitor.status": "workspace",
    "monitor.write_dashboards": "model, folder",
    "monitor.write_metrics": "found, path, *, model",
    "recipes.check": "recipe, *, overrides=",
    "recipes.resolve": "recipe, *, overrides=, environment=",
    "recipes.schema": "",
    "recipes.show": "recipe, *, overrides=",
    "registry.explain": "code",
    "registry.list_families": "",
    "registry.list_plugins": "family",
    "releases.certify_release": "folder, text, *, progress=",
    "releases.export_release": "folder, text, *, to, form",
    "releases.list_releases": "folder",
    "releases.show_release": "folder, text",
    "releases.verify_release": "folder, text, *, public_key=",
    "retune.draft": "folder, release=, *, to=, recipe=",
    "retune.run": "folder, drafted, *, until=, progress=",
    "run.run": "recipe, *, until=, overrides=, resume=, workspace=, progress=",
    "runs.compare_runs": "folder, first, second",
    "runs.list_runs": "folder",
    "runs.logs": "folder, run",
    "serve.find_sources": "refs, *, workspace",
    "serve.open_runtime": "refs, *, workspace, serving=",
    "serve.read_keys": "variable, environment",
    "workspace.find": "start",
    "workspace.gc": "folder, *, days=, is_dry_run=",
    "workspace.status": "folder",
}

OPTIONS = {
    "compare.Comparing": {
        "metrics": ("exact_match",),
        "max_questions": None,
        "max_new_tokens": 128,
        "seed": 0,
        "form": "auto",
        "api_key_envs": (),
    },
    "generate.Generation": {
        "max_new_tokens": 128,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
        "num_rows": None,
        "form": "auto",
        "api_key_env": None,
    },
    "monitor.Watching": {
        "release": None,
        "reference": None,
        "base": None,
        "false_alarm_rate": 0.01,
        "seed": 0,
    },
}


def iterate_modules() -> Iterator[tuple[str, ModuleType]]:
    for found in pkgutil.iter_modules(luthier.api.__path__):
        yield found.name, importlib.import_module(f"luthier.api.{found.name}")


def iterate_public(kind: type) -> Iterator[tuple[str, object]]:
    """Yield what a module of the api defines itself and does not hide."""
    for place, module in iterate_modules():
        for name, value in vars(module).items():
            if isinstance(value, kind) and not name.startswith("_") and value.__module__ == module.__name__:
                yield f"{place}.{name}", value


def write_parameters(function: object) -> str:
    words: list[str] = []
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        assert parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}, parameter
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(parameter.name + ("" if parameter.default is parameter.empty else "="))
    return ", ".join(words)


def test_functions_of_the_api_have_these_parameters() -> None:
    found = {name: write_parameters(function) for name, function in iterate_public(type(write_parameters))}

    assert found == FUNCTIONS


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_api_have_these_defaults(name: str) -> None:
    module, _, kind = name.partition(".")
    options = getattr(importlib.import_module(f"luthier.api.{module}"), kind)()

    assert dataclasses.asdict(options) == OPTIONS[name]


def test_every_function_of_the_api_says_what_it_takes_and_gives() -> None:
    for name, function in iterate_public(type(write_parameters)):
        signature = inspect.signature(function)  # type: ignore[arg-type]
        unsaid = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        assert unsaid == [], name
        assert signature.return_annotation is not signature.empty, name


def test_every_error_that_a_docstring_promises_is_a_code_or_a_class_that_exists() -> None:
    """``Raises:`` names classes of ``core.errors``; a class renamed there would leave the promise behind."""
    import re

    from luthier.foundation.core import errors

    for name, function in iterate_public(type(write_parameters)):
        raised = (inspect.getdoc(function) or "").partition("Raises:\n")[2].partition("\n\n")[0]
        for kind in re.findall(r"^ {4}(\w+):", raised, re.M):
            assert issubclass(getattr(errors, kind), errors.LuthierError), f"{name}: {kind}"


def test_a_corridors_result_is_read_by_these_names() -> None:
    assert [field.name for field in dataclasses.fields(CorridorResult)] == ["stages", "waiting", "denied"]
    assert [field.name for field in dataclasses.fields(StageResult)] == [
        *("stage", "reused", "seconds", "digest", "evidence", "record", "cache_key")
    ]
    for name in ("find", "report", "verdict", "run_id", "to_json"):
        assert hasattr(CorridorResult, name)


def test_the_progress_that_callers_may_give_is_a_protocol_of_two_methods() -> None:
    from luthier.foundation.core.progress import Progress, ProgressTask, SilentProgress

    assert write_parameters(Progress.task) == "self, name, *, total, unit="
    assert write_parameters(Progress.say) == "self, sentence"
    assert "amount" in inspect.signature(ProgressTask.advance).parameters
    with SilentProgress().task("quiet", total=None) as task:
        task.advance(2, loss=0.5)
