"""Our rendering and masks against transformers' ``apply_chat_template``, on the real templates that TRL ships."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers.utils.chat_template_utils as oracle_templates
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from luthier.foundation.core.errors import DataError
from luthier.instruments.text.encode import encode_prompt, encode_row, find_trained_spans
from luthier.instruments.text.forms import to_row
from luthier.instruments.text.templates import FIXED_NOW
from luthier.instruments.text.tokens import TextTokenizer
from tests.fixtures.text_tokenizers import END_TOKENS, make_backend, make_tokenizer

pytestmark = pytest.mark.parity

FOLDER = Path(find_spec("trl").submodule_search_locations[0]) / "chat_templates"
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.jinja"))}
TRAINING = sorted(name for name in SOURCES if "generation" in SOURCES[name] and name.endswith("_training"))
PARTS_ONLY = {"idefics3", "idefics3_training", "llava_next", "llava_next_training", "smolvlm", "smolvlm_training"}
"""Templates that read lists of parts; the oracle is given such lists for them."""
TEXT_ARGUMENTS = {"deepseekv3"}
"""Templates that join a call's arguments as text, so the oracle must be given text."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city <now> & later",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": 'Ålesund "N"', "days": 3}},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": '{"sky": "grey"}'}


def say(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


ROWS: dict[str, dict[str, Any]] = {
    "one turn": {"messages": [say("user", "Hello there"), say("assistant", "Good day.")]},
    "many turns": {
        "messages": [
            say("user", "One?"),
            say("assistant", "Two."),
            say("user", "Three?"),
            say("assistant", "Four."),
            say("user", "Five?"),
            say("assistant", "Six."),
        ]
    },
    "system": {
        "messages": [
            say("system", "Be brief.\n\nAlways."),
            say("user", "Why?"),
            say("assistant", "Because."),
            say("user", "So?"),
            say("assistant", "So."),
        ]
    },
    "unicode": {"messages": [say("user", "日本語で 👩‍👩‍👧 どうぞ"), say("assistant", "はい、😀 \u200bça va « bien »")]},
    "spaces": {"messages": [say("user", "  padded\n\n"), say("assistant", "\n  answer with edges \n")]},
    "empty answer": {"messages": [say("user", "Say nothing."), say("assistant", "")]},
    "thoughts": {
        "messages": [
            say("user", "Think."),
            say("assistant", "<think>\nhmm\n</think>\n\nDone."),
            say("user", "Again."),
            say("assistant", "<think>\nmore\n</think>\n\nDone again."),
        ]
    },
    "tool call": {
        "tools": [WEATHER],
        "messages": [
            say("system", "You know the weather."),
            say("user", "Ålesund?"),
            CALLING,
            RESULT,
            say("assistant", "Grey."),
            say("user", "Thanks"),
            say("assistant", "Welcome."),
        ],
    },
}


@pytest.fixture(autouse=True)
def same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the oracle's clock stand where ours does."""

    class Fixed(datetime):
        @classmethod
        def now(cls) -> datetime:
            return FIXED_NOW

    monkeypatch.setattr(oracle_templates, "datetime", Fixed)
    oracle_templates._compile_jinja_template.cache_clear()


@cache
def ours(name: str) -> TextTokenizer:
    return make_tokenizer(SOURCES[name], eos_token="</s>", end_tokens=END_TOKENS)  # noqa: S106


@cache
def theirs() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=make_backend(), bos_token="<s>", eos_token="</s>")  # noqa: S106


def oracle_messages(name: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    copied = json.loads(json.dumps(messages))
    for message in copied:
        if name in PARTS_ONLY:
            message["content"] = [{"type": "text", "text": message["content"]}]
        if name in TEXT_ARGUMENTS:
            for made in message.get("tool_calls", ()):
                made["function"]["arguments"] = json.dumps(made["function"]["arguments"], ensure_ascii=False)
    return copied


def ask_oracle(name: str, row: dict[str, Any], **options: Any) -> Any:
    """Return transformers' answer, or None where the template refuses the row."""
    try:
        return theirs().apply_chat_template(
            oracle_messages(name, row["messages"]),
            tools=row.get("tools"),
            chat_template=SOURCES[name],
            return_dict=True,
            **options,
        )
    except (TemplateError, TypeError):
        return None


def test_enough_real_templates_are_compared() -> None:
    assert len(SOURCES) >= 60
    assert len(TRAINING) >= 20


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_prompts_equal_transformers_to_the_id(name: str) -> None:
    """Both with what asks for an answer and without; where one refuses the other does."""
    compared = 0
    for what, record in ROWS.items():
        row = to_row(record, form="messages", source=what, line=1)
        for cut, asks in ((len(row.messages), False), (len(row.messages) - 1, True)):
            shown = {**record, "messages": record["messages"][:cut]}
            expected = ask_oracle(name, shown, add_generation_prompt=asks)
            template = ours(name).chat_template
            assert template is not None
            if expected is None:
                with pytest.raises(DataError, match="E-TXT-003"):
                    template.render_text(row.messages[:cut], row.tools, add_generation_prompt=asks)
                continue
            text = template.render_text(row.messages[:cut], row.tools, add_generation_prompt=asks)
            assert ours(name).encode(text).ids.tolist() == expected["input_ids"], (what, asks)
            if asks:
                assert encode_prompt(row.messages[:cut], row.tools, ours(name)).tolist() == expected["input_ids"]
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("name", TRAINING)
def test_masks_of_marked_templates_equal_transformers(name: str) -> None:
    compared = 0
    for what, record in ROWS.items():
        expected = ask_oracle(name, record, return_assistant_tokens_mask=True)
        if expected is None:
            continue
        row = to_row(record, form="messages", source=what, line=1)
        template = ours(name).chat_template
        assert template is not None
        rendered = template.render(row.messages, row.tools)
        tokens = ours(name).encode(rendered.text)
        trained = np.zeros(len(rendered.text), dtype=bool)
        for start, end in find_trained_spans(row.messages, rendered, "assistant"):
            trained[start:end] = True
        mask = [int(trained[start:end].any()) for start, end in tokens.offsets]
        assert mask == complete_characters(expected["assistant_masks"], tokens.offsets.tolist()), what
        compared += 1
    assert compared >= 4


def complete_characters(mask: list[int], offsets: list[list[int]]) -> list[int]:
    """Fill what transformers' ``char_to_token`` leaves out: only the first token of a span's last character."""
    for index in range(1, len(mask)):
        if offsets[index] == offsets[index - 1] and mask[index - 1]:
            mask[index] = 1
    return mask


PAIRS = [name for name in TRAINING if name.removesuffix("_training") in SOURCES]


@pytest.mark.parametrize("name", PAIRS)
def test_templates_without_marks_are_masked_as_their_marked_variants(name: str) -> None:
    """TRL's variants write the same text with marks.

    Two differences are meant: what the prompt already shows (``<think>`` of some models) is not trained, nor is what
    follows the token that ends the turn. Variants that mark the header too, or write another text, are no oracle.
    """
    plain, compared = name.removesuffix("_training"), 0
    for what in ("one turn", "many turns", "system", "unicode", "tool call"):
        row = to_row(ROWS[what], form="messages", source=what, line=1)
        marked_template, plain_template = ours(name).chat_template, ours(plain).chat_template
        assert marked_template is not None
        assert plain_template is not None
        try:
            marked = marked_template.render(row.messages, row.tools)
            found = plain_template.render(row.messages, row.tools)
        except DataError as error:
            assert error.code in {"E-TXT-003", "E-TXT-005"}  # noqa: PT017  refused, never guessed
            continue
        if marked.text != found.text or name in MARKS_HEADER:
            continue
        for one, other in zip(marked.turns, found.turns, strict=True):
            shown = plain_template.render_text(row.messages[: one.message], row.tools, add_generation_prompt=True)
            assert other.start >= one.start, what
            assert found.text[one.start : other.start].strip() in shown[-20:], what
            assert other.end <= one.end, what
            ends = found.text[other.end : one.end].strip()
            assert ends in {"", "</s>"}, what
        compared += 1
    if plain in {"llama3", "phi3", "gemma3", "qwen2_5", "qwen3_vl", "qwen3_instruct_2507", "lfm2", "cohere"}:
        assert compared >= 2


MARKS_HEADER = {"gptoss_training", "deepseekv3_training", "deepseek_r1_distill_training", "muse_glimmer_training"}
"""Variants whose marks hold the header too, which generation is given."""


def test_a_whole_row_equals_transformers_ids_and_mask() -> None:
    """From the record to ids and weights in one go, for the format that most bases use."""
    row = to_row(ROWS["tool call"], form="messages", source="rows.jsonl", line=1)
    expected = ask_oracle("qwen2_5_training", ROWS["tool call"], return_assistant_tokens_mask=True)
    encoded = encode_row(row, ours("qwen2_5_training"))
    assert encoded.token_ids_T.tolist() == expected["input_ids"]
    assert (encoded.weights_T > 0).astype(int).tolist() == expected["assistant_masks"]
