"""The command line's contract: names, arguments and flags. A change here is a change for every user's script."""

from __future__ import annotations

from collections.abc import Iterator

import click

from luthier.cli.commands_table import GROUPS, ROOT
from luthier.cli.lazy import LazyGroup
from luthier.cli.main import luthier

COMMON = ["--json", "--workspace"]

CONTRACT = {
    "demo": ["--controls", "--minutes", "--seed", "--set"],
    "init": ["NAME", "--data", "--template"],
    "run": ["RECIPE", "--set", "--until"],
    "data check": ["FILE", "--form", "--format"],
    "data curate": ["RECIPE", "--set"],
    "data show": ["FILE", "--base", "--form", "--masks", "--rows", "--train-on"],
    "data select": ["FILE", "--form", "--fraction", "--output", "--seed", "--type"],
    "data why": ["RECORD", "ROW"],
    "data used-by": ["RECORD"],
    "model list": [],
    "model show": ["NAME"],
    "model pull": ["NAME"],
    "model check": ["MODEL", "--license", "--use"],
    "plan": ["RECIPE", "--set"],
    "train": ["RECIPE", "--resume", "--set"],
    "runs": [],
    "runs compare": ["RUN", "RUN"],
    "evaluate": ["RECIPE", "--set"],
    "compare": [
        *("REF", "REF"),
        *("--api-key-env", "--data", "--form", "--max-new-tokens", "--max-questions", "--metric", "--seed"),
    ],
    "generate": [
        "REF",
        *("--api-key-env", "--data", "--form", "--max-new-tokens", "--output", "--rows", "--seed"),
        *("--temperature", "--top-p"),
    ],
    "monitor drift": [
        "RELEASE",
        *("--base", "--false-alarm-rate", "--metrics", "--reference", "--seed", "--traffic"),
    ],
    "monitor status": [],
    "monitor dashboards": ["NAME", "--to"],
    "release list": [],
    "release show": ["RELEASE"],
    "release export": ["RELEASE", "--format", "--to"],
    "release certify": ["RELEASE"],
    "release verify": ["RELEASE", "--public-key"],
    "serve": [
        "REF...",
        *("--api-key-env", "--host", "--keep-content", "--max-cache-tokens", "--max-queue", "--max-rows"),
        *("--port", "--precision", "--until-stdin-closes"),
    ],
    "chat": [
        "REF",
        *("--api-key-env", "--max-tokens", "--precision", "--seed", "--system", "--temperature", "--top-p"),
    ],
    "feedback add": ["RESPONSE", "--comment", "--correction", "--data", "--preferred", "--rating", "--rejected"],
    "feedback list": ["--last", "--state"],
    "feedback review": ["ID...", "--accept", "--by"],
    "retune": ["RELEASE", "--recipe", "--run", "--to", "--until"],
    "govern approve": ["REPORT", "--by", "--override", "--reason"],
    "govern audit show": ["--last"],
    "govern audit verify": ["--head"],
    "govern lineage": ["RELEASE|RECORD"],
    "govern card": ["RELEASE|REPORT"],
    "recipe check": ["RECIPE", "--set"],
    "recipe show": ["RECIPE", "--set"],
    "recipe schema": ["--output"],
    "list": ["FAMILY"],
    "explain": ["CODE"],
    "completion": ["SHELL"],
    "doctor": [],
    "status": ["--all"],
    "logs": ["RUN", "--last"],
    "gc": ["--days", "--dry-run"],
}


def walk(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group, info_name="luthier")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from walk(command, f"{prefix}{name} ")


def list_words(command: click.Command) -> list[str]:
    arguments = [
        p.make_metavar(click.Context(command)).strip("[]") for p in command.params if p.param_type_name == "argument"
    ]
    options = [option for p in command.params if p.param_type_name == "option" for option in p.opts]
    return arguments + sorted(set(options) - set(COMMON))


def test_commands_arguments_and_flags_are_as_promised():
    assert {name: list_words(command) for name, command in walk(luthier)} == CONTRACT


def test_every_command_takes_json_and_workspace():
    for name, command in walk(luthier):
        assert set(COMMON) <= {option for parameter in command.params for option in parameter.opts}, name


def test_the_table_says_what_each_command_says_of_itself():
    rows = {**ROOT, **{f"{group} {name}": row for group, inner in GROUPS.items() for name, row in inner.items()}}
    for name, command in walk(luthier):
        first = (command.help or "").partition("\n\n")[0].replace("\n", " ").strip()
        assert first == rows[name].summary, name


def test_every_option_has_a_help_text_and_every_group_is_lazy():
    for name, command in walk(luthier):
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, name
    assert isinstance(luthier, LazyGroup)
