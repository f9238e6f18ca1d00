"""Write a company's files. The same seed gives the same bytes, and each file is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any, Final

from luthier.examples.support_desk.defects import NUM_PLANTED, Planted, plant_defects
from luthier.examples.support_desk.policy import TOOLS, Policy, draw_policy
from luthier.examples.support_desk.tasks import KINDS, Call, Desk, Request
from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.seeds import derive_seed

NUM_TRAINING: Final = 2000
CASES_A_KIND: Final = 9
TURNS_A_CASE: Final = 2
RECIPE_NAME: Final = "recipe.yaml"

QUIET_DAYS: Final = 14
CHANGED_DAYS: Final = 7
REQUESTS_A_DAY: Final = 40
FIRST_DAY: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
CHANGED_KINDS: Final = ("refund", "return")
CHANGED_SHARE: Final = 0.85
"""Share of requests, once the mix has changed, that are of ``CHANGED_KINDS``."""


@dataclass(frozen=True, slots=True)
class CompanyFiles:
    """What was written.

    Attributes:
        company: The company's name.
        train: Rows to train on, defects among them.
        held_out: Rows to be judged by.
        labels: Which lines of ``train`` are broken and how; for reports only.
        traffic: Requests of three weeks for drift.
        traffic_facts: From which day on they have changed.
        recipe: The job.
    """

    company: str
    train: Path
    held_out: Path
    labels: Path
    traffic: Path
    traffic_facts: Path
    recipe: Path


def write_company(folder: Path, seed: int) -> CompanyFiles:
    """Make up a company and write its files into a folder, which is made where it is not there.

    Args:
        folder: Where to write; files of the same names are replaced.
        seed: Of everything: names, numbers, requests, defects.

    Raises:
        StoreError: E-ENV-003 when the disk is full.
    """
    policy = draw_policy(_stream(seed, "policy"))
    desk = Desk(policy, _stream(seed, "requests"))
    held_out = [
        request
        for kind in KINDS
        for _ in range(CASES_A_KIND)
        for request in desk.draw_case(kind, num_turns=TURNS_A_CASE)
    ]
    training = _draw_training(desk, held_out, _stream(seed, "defects"))
    written = CompanyFiles(
        company=policy.company,
        train=folder / "train.jsonl",
        held_out=folder / "held_out.jsonl",
        labels=folder / "labels.jsonl",
        traffic=folder / "traffic.jsonl",
        traffic_facts=folder / "traffic.json",
        recipe=folder / RECIPE_NAME,
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(written.train, (_to_record(one.request, policy) for one in training))
    _write_lines(written.held_out, (_to_record(request, policy) for request in held_out))
    _write_lines(written.labels, _list_labels(training))
    _write_lines(written.traffic, _draw_traffic(desk, _stream(seed, "traffic")))
    changed_from = (FIRST_DAY + timedelta(days=QUIET_DAYS)).date().isoformat()
    write_atomic(written.traffic_facts, _dump({"changed_from": changed_from}))
    recipe = files("luthier.examples.support_desk").joinpath(RECIPE_NAME).read_bytes()
    write_atomic(written.recipe, recipe)
    return written


def _stream(seed: int, purpose: str) -> Random:
    return Random(derive_seed(seed, "support_desk", purpose))  # noqa: S311  drawn data, no secrets


def _draw_training(desk: Desk, held_out: list[Request], random: Random) -> list[Planted]:
    num_sound = NUM_TRAINING - sum(NUM_PLANTED.values())
    kinds = list(KINDS)
    sound = [desk.draw_training(kinds[number % len(kinds)]) for number in range(num_sound)]
    rows = [*(Planted(request) for request in sound), *plant_defects(desk, sound, held_out, random)]
    random.shuffle(rows)
    return rows


def _to_record(request: Request, policy: Policy) -> dict[str, Any]:
    """Return a row in OpenAI's form: system, user, assistant, and the tools."""
    answer: dict[str, Any] = {"role": "assistant", "content": request.answer}
    if isinstance(request.answer, Call):
        function = {
            "name": request.answer.name,
            "arguments": json.dumps(request.answer.arguments, ensure_ascii=False),
        }
        call = {"id": "call_1", "type": "function", "function": function}
        answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages = [
        {"role": "system", "content": policy.write_section()},
        {"role": "user", "content": request.message},
        answer,
    ]
    return {"messages": messages, "tools": list(TOOLS), "kind": request.kind, "case": request.case}


def _list_labels(training: list[Planted]) -> Iterable[dict[str, Any]]:
    lines = {one.request.case: number for number, one in enumerate(training, start=1)}
    for number, one in enumerate(training, start=1):
        if one.defect is not None:
            yield {"line": number, "defect": one.defect, "of": lines[one.of.case] if one.of else None}


def _draw_traffic(desk: Desk, random: Random) -> Iterable[dict[str, str]]:
    """Draw requests as the held-out ones are, then from one day on with another mix of kinds."""
    for day in range(QUIET_DAYS + CHANGED_DAYS):
        minutes = sorted(random.sample(range(600), k=REQUESTS_A_DAY))
        for minute in minutes:
            has_changed = day >= QUIET_DAYS and random.random() < CHANGED_SHARE
            kind = random.choice(CHANGED_KINDS if has_changed else tuple(KINDS))
            time = FIRST_DAY + timedelta(days=day, minutes=minute)
            (request,) = desk.draw_case(kind, num_turns=1)
            yield {"time": time.isoformat().replace("+00:00", "Z"), "text": request.message}


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    write_atomic(path, b"".join(_dump(record) for record in records))


def _dump(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()
