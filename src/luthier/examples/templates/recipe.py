"""Write the recipe and the README of a new job, sized for its rows, each line with the reason for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template as Text
from typing import Final

import yaml

from luthier.examples.templates.template import TEMPLATES

PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
LENGTHS: Final = (256, 512, 1024, 2048)
CHARACTERS_PER_TOKEN: Final = 2.5  # of English, 4; of code, numbers and other scripts, about 2.5
SMALLEST_ANSWER: Final = 16
LARGEST_ANSWER: Final = 256
MINUTES: Final = 8
PROBES: Final = 64
FEW_ROWS: Final = 150
MANY_ROWS: Final = 5000
TEST_ROWS: Final = 200
VALIDATION_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Job:
    """What a recipe is written for.

    Attributes:
        name: The recipe's name.
        template: Which template.
        path: Where the rows lie, as the recipe writes it.
        licence: Under which licence they may be used.
        form: The rows' form.
        columns: Their columns by the form's names, where they differ.
        num_rows: How many there are.
        longest_row: Characters of the longest row, its tools included.
        longest_answer: Characters of the longest answer.
        is_example: Whether the rows are the template's own.
    """

    name: str
    template: str
    path: str
    licence: str
    form: str
    columns: Mapping[str, str]
    num_rows: int
    longest_row: int
    longest_answer: int
    is_example: bool = False


def render_recipe(job: Job) -> str:
    """Write the recipe; every value that depends on the rows says how."""
    template = TEMPLATES[job.template]
    validation, test = choose_split(job.num_rows)
    longest, fits = choose_length(job.longest_row)
    suite = Text(template.suite).substitute(tokens=choose_answer_tokens(job.longest_answer), rows=longest)
    if job.template == "documents":
        too_long = "split   # a page that is longer is cut into rows"
    else:
        too_long = "refuse  # drop: leave out rows that are longer" if fits else "drop    # longer rows are left out"
    columns = f"\n      columns: {_write_columns(job.columns)}" if job.columns else ""
    rows = template.rows if job.is_example else "yours"
    return f"""\
# {job.name}: {template.summary}.
# What is left out has a default: `luthier recipe show recipe.yaml` prints every value and where it comes from.
luthier: 1
name: {_write_yaml(job.name)}
seed: 0

data:
  sources:
    # {job.num_rows:,} rows: {rows}
    - path: {_write_yaml(job.path)}
      form: {job.form}{columns}
      license: {job.licence}{"" if job.is_example else "   # the licence under which you may use these rows"}
  # Rows are cleaned by default: one Unicode form, no empty rows, no exact duplicates; `luthier data why` tells of each.
  split: {{validation: {validation:g}, test: {test:g}}}   # about {round(job.num_rows * test):,} rows judge the result

model: {{base: smollm2-135m-instruct}}   # or a folder, a GGUF file; `luthier model list` shows what is here

plan:
  minutes: {MINUTES}    # training takes no longer than this: fewer rows are taken where all would
  probes: {PROBES}    # prompts on which the released model must say exactly what the trained one said

train:
  method: {{type: lora, rank: 16}}
  objective: {template.objective}
  epochs: {choose_epochs(job.num_rows)}
  max_length: {longest}
  too_long: {too_long}

evaluate:
  systems: {template.systems}
  suites:
    - {suite}
  gates:
    # {template.meaning}
    - {template.gate}
"""


def render_readme(job: Job) -> str:
    """Write the three lines that come next, and what a verdict other than PASS means."""
    return f"""\
# {job.name}

{TEMPLATES[job.template].summary[0].upper()}{TEMPLATES[job.template].summary[1:]}. In this folder:

```sh
luthier plan recipe.yaml            # what a run will take, before anything is loaded
luthier run recipe.yaml             # rows to release; stopped, it goes on where it was
luthier chat release:{job.name}
```

`run` prints a table and writes a report. Where the verdict is not PASS, nothing is released and the tuned model is
there all the same: `run` names it, and `luthier chat run:ID` talks to it. With few rows a verdict is often
INCONCLUSIVE: the report says how many would settle it.
"""


def choose_split(num_rows: int) -> tuple[float, float]:
    """Return the shares of validation and test: enough for a verdict, no more than it needs."""
    share = 0.3 if num_rows < FEW_ROWS else 0.2
    test = min(share, TEST_ROWS / max(num_rows, 1))
    validation = min(0.1, VALIDATION_ROWS / max(num_rows, 1))
    return float(f"{validation:.2g}"), float(f"{test:.2g}")


def choose_length(longest_row: int) -> tuple[int, bool]:
    """Return ``max_length`` in tokens and whether every row surely fits."""
    needed = longest_row / CHARACTERS_PER_TOKEN + 64  # and the chat template's own words
    return next((length for length in LENGTHS if length >= needed), LENGTHS[-1]), needed <= LENGTHS[-1]


def choose_answer_tokens(longest_answer: int) -> int:
    """Return ``max_new_tokens``: the longest answer and its end, in steps of eight."""
    needed = longest_answer / CHARACTERS_PER_TOKEN + 2
    return min(max(-(-int(needed) // 8) * 8, SMALLEST_ANSWER), LARGEST_ANSWER)


def choose_epochs(num_rows: int) -> int:
    """Return how often each row is seen: few rows more often."""
    if num_rows < FEW_ROWS:
        return 6
    return 3 if num_rows < MANY_ROWS else 1


def _write_columns(columns: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{ours}: {_write_yaml(theirs)}" for ours, theirs in columns.items()) + "}"


def _write_yaml(text: str) -> str:
    """Write a text for YAML, in quotes unless it is plain to every reader of YAML, old and new."""
    is_plain = PLAIN.fullmatch(text) is not None and yaml.safe_load(text) == text
    return text if is_plain else json.dumps(text, ensure_ascii=False)
