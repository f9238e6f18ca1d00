"""Every command with its one line of help, so that ``--help`` loads none of them."""

from __future__ import annotations

from typing import Final, NamedTuple


class CommandRow(NamedTuple):
    """Where a command is defined.

    Attributes:
        place: ``module:function`` below ``luthier.cli.commands``; empty for a group of commands without its own.
        summary: What ``--help`` says; equal to the first sentence of the command's docstring.
    """

    place: str
    summary: str


ROOT: Final[dict[str, CommandRow]] = {
    "demo": CommandRow(
        "demo:demo",
        "Take a made-up company's support desk through all seven stages, with evidence that a sceptic can attack.",
    ),
    "init": CommandRow("init:init", "Make a folder with a commented recipe, and example rows where you have none."),
    "run": CommandRow("corridor:run", "Run a recipe's stages: what is there is reused, what was broken off goes on."),
    "data": CommandRow("", "Stage 1: look at rows, clean them, tell a row's story."),
    "model": CommandRow("", "Stage 2: the models at hand, and whether one is safe and may be used."),
    "plan": CommandRow("corridor:plan", "Stage 3: what a run will take and why, before anything is loaded."),
    "train": CommandRow("corridor:train", "Stage 4: train by a recipe; an interrupted run goes on."),
    "runs": CommandRow("runs:runs", "List training runs, newest first."),
    "evaluate": CommandRow("corridor:evaluate", "Stage 5: compare the tuned model with its base and judge the gates."),
    "compare": CommandRow("models:compare", "Compare two models on the same rows: second minus first, with a verdict."),
    "serve": CommandRow("serve:serve", "Serve models over the OpenAI chat API until told to stop."),
    "chat": CommandRow("serve:chat", "Talk to a model line by line; answers appear as they are computed."),
    "generate": CommandRow("models:generate", "Answer every row of a file with a model."),
    "monitor": CommandRow("", "Stage 7: has traffic drifted from what a release was made for."),
    "feedback": CommandRow("", "Stage 7: what people say of answers, and its review."),
    "retune": CommandRow(
        "retune:retune", "Make the next run's recipe from a release and the feedback that was accepted since."
    ),
    "govern": CommandRow("", "Evidence: approvals, the audit log, lineage, cards."),
    "release": CommandRow("", "Stage 6: releases, their exports, and the proof that they are what was trained."),
    "recipe": CommandRow("", "Check and show recipes, and their schema for editors."),
    "list": CommandRow("finding:list_", "List the plug-ins of a family."),
    "explain": CommandRow("finding:explain", "Explain an error code."),
    "completion": CommandRow(
        "completion:completion", "Print the script that makes a shell (bash, zsh, fish) complete luthier's words."
    ),
    "doctor": CommandRow("finding:doctor", "Say what this machine has and lacks, with the line that mends it."),
    "status": CommandRow("workspace:status", "Show what a workspace holds and what is unfinished."),
    "logs": CommandRow("workspace:logs", "Show a run's curve or its failure."),
    "gc": CommandRow("workspace:gc", "Delete blobs and folders that nothing needs any more."),
}

GROUPS: Final[dict[str, dict[str, CommandRow]]] = {
    "data": {
        "check": CommandRow("data:check", "Say what a file holds and what the default operators would do to it."),
        "curate": CommandRow("data:curate", "Run a recipe's data stage alone."),
        "show": CommandRow("data:show", "Show rows of a file, and with --masks what is trained in them."),
        "select": CommandRow(
            "data:select", "Choose rows of a file, the most useful first, and say why and at what cost."
        ),
        "why": CommandRow("data:why", "Tell what happened to a row, from its file to its split."),
        "used-by": CommandRow("data:used_by", "List what was made from a record."),
    },
    "model": {
        "list": CommandRow("model:list_", "List the models known by name and those that are here."),
        "show": CommandRow("model:show", "Show what is known about a model."),
        "pull": CommandRow("model:pull", "Bring a model by name, verified, once."),
        "check": CommandRow(
            "model:check", "Say what a model is, whether it is safe to load and whether it may be used."
        ),
    },
    "runs": {
        "compare": CommandRow("runs:compare", "Show two runs side by side: what differs and what it gave."),
    },
    "govern": {
        "approve": CommandRow(
            "govern:approve", "Approve a report, or override its verdict; running its recipe again then goes on."
        ),
        "audit": CommandRow("", "The log of everything that happened, each entry chained to the one before."),
        "lineage": CommandRow(
            "govern:lineage", "Trace a release, a run or any record back to its source files, every arrow by digest."
        ),
        "card": CommandRow(
            "govern:card", "Print the model card of a release, or of a report that none was made from yet, as Markdown."
        ),
    },
    "govern audit": {
        "show": CommandRow("govern:audit_show", "Show what happened in this workspace, in order."),
        "verify": CommandRow(
            "govern:audit_verify",
            "Say whether the audit log is what was written; an edit, a gap or a swap ends with exit code 3.",
        ),
    },
    "monitor": {
        "drift": CommandRow(
            "monitor:drift",
            "Say whether traffic has moved away from a release's reference, since when and how far.",
        ),
        "status": CommandRow(
            "monitor:status",
            "List the newest release of each name with what is watched and the traffic that was logged.",
        ),
        "dashboards": CommandRow(
            "monitor:dashboards", "Write a Grafana dashboard and Prometheus alert rules for a served release."
        ),
    },
    "feedback": {
        "add": CommandRow("feedback:add", "Add feedback on an answer that was served here, or a file of it."),
        "list": CommandRow("feedback:list_", "List feedback in the order in which it came."),
        "review": CommandRow(
            "feedback:review", "Accept or reject feedback: what is accepted, the next run may learn from."
        ),
    },
    "release": {
        "list": CommandRow("release:list_", "List the releases of a workspace, newest first."),
        "show": CommandRow(
            "release:show", "Show a release: what it is made of, its parity certificate, where it lies."
        ),
        "export": CommandRow(
            "release:export", "Copy one form of a release, with card and licence notices, to a folder of your own."
        ),
        "certify": CommandRow(
            "release:certify",
            "Compare a release, as it lies, with the live model's scores again; a step beyond its contract exits with 3.",
        ),
        "verify": CommandRow(
            "release:verify",
            "Check every byte of a release; any file changed, added or taken away is named, with exit code 3.",
        ),
    },
    "recipe": {
        "check": CommandRow("recipe:check", "Check a recipe: all mistakes at once, each with its line."),
        "show": CommandRow("recipe:show", "Show every value of a recipe with its origin."),
        "schema": CommandRow("recipe:schema", "Print the JSON Schema of recipes, for editors."),
    },
}
