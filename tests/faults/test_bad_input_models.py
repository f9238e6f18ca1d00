"""Model folders that are unsafe, damaged or not allowed, through the real command line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.bad_input import Desk, check_refusal, watch
from tests.fixtures.tiny_models import CHAT_TEMPLATE

pytestmark = pytest.mark.fault
NUM_TRAINING_ROWS = 32
SHOWN_ROWS = 20


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.place,))


def change(path: Path, **values: Any) -> None:
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def set_tokenizer(**values: Any) -> Callable[[Path], None]:
    return lambda base: change(base / "tokenizer_config.json", **values)


def set_config(**values: Any) -> Callable[[Path], None]:
    return lambda base: change(base / "config.json", **values)


def put(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda base: (base / name).write_bytes(data) and None


def truncate(base: Path) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def put_pickle(base: Path) -> None:
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(base.parent / "it-ran")))


def leave(base: Path) -> None:
    (base / "extra.json").symlink_to("/nowhere/at/all.json")


SPOILED: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...]]] = {
    "a pickle beside the weights": (put_pickle, "E-MOD-001", ("pytorch_model.bin", "run code")),
    "an optimizer's pickle": (put("optimizer.pt", b"x"), "E-MOD-001", ("optimizer.pt",)),
    "program code": (put("modeling_wonder.py", b"import os"), "E-MOD-001", ("modeling_wonder.py", "program code")),
    "remote code": (set_config(auto_map={"AutoModel": "a/b--x.Y"}), "E-MOD-001", ("auto_map", "remote code")),
    "a tokenizer with remote code": (set_tokenizer(auto_map={"AutoTokenizer": ["x.Y"]}), "E-MOD-001", ("auto_map",)),
    "a kernel from elsewhere": (
        set_config(attn_implementation="someone/kernel"),
        "E-MOD-001",
        ("someone/kernel", "attention kernel"),
    ),
    "a link to nowhere": (leave, "E-MOD-001", ("extra.json",)),
    "no weights": (lambda base: (base / "model.safetensors").unlink(), "E-MOD-002", ("no safetensors", "config.json")),
    "truncated weights": (truncate, "E-MOD-002", ("model.safetensors", "bytes long")),
    "garbled weights": (put("model.safetensors", b"nonsense"), "E-MOD-002", ("header cannot be read",)),
    "no configuration": (lambda base: (base / "config.json").unlink(), "E-MOD-002", ("config.json is missing",)),
    "a broken configuration": (put("config.json", b"{"), "E-MOD-002", ("config.json is not JSON",)),
    "no tokenizer": (lambda base: (base / "tokenizer.json").unlink(), "E-TXT-010", ("tokenizer.json",)),
    "a broken tokenizer": (put("tokenizer.json", b'{"a": 1}'), "E-TXT-010", ("tokenizer.json",)),
    "no chat template": (set_tokenizer(chat_template=None), "E-MOD-009", ("chat_template.jinja",)),
    "a template that is no Jinja": (set_tokenizer(chat_template="{% for x in %}"), "E-TXT-001", ("line 1",)),
    "no end token": (set_tokenizer(eos_token=None), "E-TXT-011", ("no end token", "eos_token")),
    "an end token outside the vocabulary": (set_tokenizer(eos_token="<nope>"), "E-TXT-011", ("<nope>",)),  # noqa: S106
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_model_folder_that_is_unsafe_or_damaged_is_refused_and_nothing_of_it_runs(desk: Desk, case: str) -> None:
    spoil, code, parts = SPOILED[case]
    spoil(desk.copy_base("bad"))
    recipe = desk.write_recipe(("base: base", "base: bad"))
    check_refusal(desk, ["run", recipe, "--until", "train"], codes=[code], parts=parts)
    assert not (desk.folder / "it-ran").exists()


def check_verdict(desk: Desk, code: str, parts: tuple[str, ...]) -> None:
    """`model check` judges an unsafe folder: it says what it is, what stands against it, and ends with 3."""
    spoken, shown = desk.call("model", "check", "bad"), desk.call("model", "check", "bad", "--json")
    assert (spoken.code, shown.code) == (3, 3)
    assert all(part in spoken.err for part in (code, *parts))
    assert shown.answer["is_safe"] is False
    assert shown.answer["problems"][0]["code"] == code


@pytest.mark.parametrize("case", ["a pickle beside the weights", "remote code", "no weights"])
def test_an_unsafe_folder_is_refused_by_every_command_that_takes_one(desk: Desk, case: str) -> None:
    spoil, code, parts = SPOILED[case]
    spoil(desk.copy_base("bad"))
    code_of_reference = "E-LIF-008" if case == "no weights" else code
    if code == "E-MOD-001":
        check_verdict(desk, code, parts)
    else:
        check_refusal(desk, ["model", "check", "bad"], codes=[code], parts=parts)
    check_refusal(desk, ["generate", "./bad", "--data", "rows.jsonl"], codes=[code_of_reference])
    check_refusal(desk, ["compare", "./base", "./bad", "--data", "rows.jsonl"], codes=[code_of_reference])
    assert not (desk.folder / "it-ran").exists()


def test_a_pickle_is_refused_before_torch_is_imported(desk: Desk) -> None:
    put_pickle(desk.copy_base("bad"))
    ended = watch(desk, "model", "check", "bad", exit_code=3, code="E-MOD-001")
    assert ended.heavy == []


ASSISTANT_ONLY = CHAT_TEMPLATE.replace(
    "{% for message in messages %}", "{% for message in messages if message.role == 'assistant' %}"
)
TEMPLATES: dict[str, tuple[str, str, int, str]] = {
    "counts without end": ("{% for i in range(10 ** 12) %}x{% endfor %}", "E-TXT-002", 1, "come to an end"),
    "writes without end": (
        "{% for i in range(9999) %}{% for j in range(9999) %}{{ 'x' * 999 }}{% endfor %}{% endfor %}",
        "E-TXT-002",
        1,
        "come to an end",
    ),
    "drops what the user says": (ASSISTANT_ONLY, "E-TXT-004", SHOWN_ROWS, "drops message 1 (user)"),
    "refuses": ("{{ raise_exception('no way') }}", "E-TXT-003", SHOWN_ROWS, "no way"),
    "reaches for Python": ("{{ ''.__class__.__mro__ }}", "E-TXT-003", SHOWN_ROWS, "__class__"),
    "never ends a turn": (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}",
        "E-TXT-007",
        SHOWN_ROWS,
        "is not trained",
    ),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_chat_template_that_cannot_be_trusted_is_refused_before_training(desk: Desk, case: str) -> None:
    template, code, num_problems, part = TEMPLATES[case]
    set_tokenizer(chat_template=template)(desk.copy_base("bad"))
    recipe = desk.write_recipe(("base: base", "base: bad"))
    words = ["run", recipe, "--until", "train"]
    codes = [code] * num_problems + ["E-DAT-009"] * (num_problems == SHOWN_ROWS)
    parts = [part, "rows.jsonl line 1"]
    if num_problems == SHOWN_ROWS:
        parts.append(str(NUM_TRAINING_ROWS - SHOWN_ROWS))
    check_refusal(desk, words, codes=codes, parts=parts, stores=["model_choice"])


LICENCES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a licence that denies": ("license: CC-BY-NC-4.0}", "E-MOD-007", ("does not allow commercial", "section 2(a)")),
    "a licence that nobody knows": ("license: WTFPL-9}", "E-MOD-008", ("WTFPL-9", "LicenseRef-own")),
    "no licence": ("tool_template: auto}", "E-MOD-008", ("none stated", "--set model.license=LicenseRef-own")),
}


@pytest.mark.parametrize("case", LICENCES)
def test_a_licence_that_does_not_allow_the_use_is_exit_code_3_with_a_fix_that_works(desk: Desk, case: str) -> None:
    licence, code, parts = LICENCES[case]
    desk.copy_base("other")
    recipe = desk.write_recipe(("{base: base, license: LicenseRef-own}", f"{{base: other, {licence}"))
    words = ["run", recipe, "--until", "model"]
    (problem,) = check_refusal(desk, words, codes=[code], exit_code=3, parts=parts)
    assert desk.call(*words, *problem["fix"].split()).code == 0


BASES: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "a base that nobody knows": ("base: nowhere", "E-MOD-004", 2, ("luthier model list",)),
    "a base that was not pulled": ("base: smollm2-135m-instruct", "E-ENV-005", 4, ("luthier model pull",)),
    "a tool template that nobody knows": ("base: base, tool_template: wonder", "E-TXT-017", 2, ("chatml_tools",)),
    "quantisation that is not built": ("base: base, quantise: nf4", "E-REC-010", 2, ("model.quantise: none",)),
}


@pytest.mark.parametrize("case", BASES)
def test_a_base_that_cannot_be_had_is_refused(desk: Desk, case: str) -> None:
    base, code, exit_code, parts = BASES[case]
    recipe = desk.write_recipe(("base: base", base))
    env: dict[str, str | None] = {"LUTHIER_CACHE": str(desk.folder / "cache")}
    words = ["run", recipe, "--until", "train"]
    check_refusal(desk, words, codes=[code], exit_code=exit_code, parts=parts, env=env)


REFERENCES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a run that is not there": ("run:0123456789ab", "E-LIF-007", ("no finished run", "luthier runs")),
    "a run's name that is none": ("run:../..", "E-LIF-007", ("no finished run",)),
    "a word": ("nothing-here", "E-LIF-007", ("names no model",)),
    "a folder that is not there": ("./nothing/here", "E-LIF-008", ("no such folder",)),
    "a release": ("release:desk", "E-DEP-007", ("there is no release", "luthier release list")),
    "an address without a model": ("http://localhost:1/v1", "E-LIF-010", ("no model", "#MODEL")),
}


@pytest.mark.parametrize("case", REFERENCES)
def test_a_reference_that_names_nothing_is_refused_by_compare_and_generate(desk: Desk, case: str) -> None:
    ref, code, parts = REFERENCES[case]
    check_refusal(desk, ["generate", ref, "--data", "rows.jsonl"], codes=[code], parts=parts)
    check_refusal(desk, ["compare", ref, "./base", "--data", "rows.jsonl"], codes=[code], parts=parts)
    check_refusal(desk, ["compare", "base", ref, "--data", "rows.jsonl"], codes=[code], parts=parts)
