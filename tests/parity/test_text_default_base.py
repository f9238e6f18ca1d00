"""The default base's own tokenizer and template, as transformers reads the same folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from luthier.foundation.core.errors import LuthierError
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.text.encode import encode_row
from luthier.instruments.text.questions import find_prompt_mismatches
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.instruments.text.tool_templates import choose_tool_template
from luthier.stages.model.catalogue import DEFAULT_BASE
from luthier.stages.model.stage import locate_base
from tests.fixtures.text_tokenizers import call, talk

pytestmark = [pytest.mark.base, pytest.mark.parity]

TEXTS = (
    "\n\n1.",
    "a  12",
    "Zürich 🦜 日本語",
    "def f(x):\n\treturn x + 1234567\n",
    "<|im_start|>user\nHi<|im_end|>\n",
    "",
)


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return locate_base(DEFAULT_BASE, base_folder=Path(), environment=os.environ)
    except LuthierError as error:
        pytest.skip(f"the default base is not here: {error}")


@pytest.fixture(scope="module")
def ours(folder: Path) -> TextTokenizer:
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("text", TEXTS)
def test_texts_have_transformers_ids(ours: TextTokenizer, theirs: PreTrainedTokenizerBase, text: str) -> None:
    ids = ours.encode(text).ids.tolist()
    assert ids == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids) == text


def test_conversations_have_transformers_ids(ours: TextTokenizer, theirs: PreTrainedTokenizerBase) -> None:
    messages = talk("Hi", "Good day.", "1 + 11?", "12 🦜")
    encoded = encode_row(Row(id="r", messages=messages), ours)
    shown = [{"role": message.role, "content": message.content} for message in messages]
    assert encoded.token_ids_T.tolist() == theirs.apply_chat_template(shown, return_dict=True)["input_ids"]
    assert ours.decode(encoded.token_ids_T[encoded.weights_T > 0]) == "Good day.<|im_end|>12 🦜<|im_end|>"


def test_the_tool_template_keeps_the_bases_text_and_trains_calls(ours: TextTokenizer) -> None:
    assert ours.chat_template is not None
    name, source = choose_tool_template(ours.chat_template)
    assert name == "chatml_tools"
    tooled = ours.with_chat_template(source)
    messages = talk("Hi", "Good day.")
    plain = encode_row(Row(id="r", messages=messages), ours)
    assert encode_row(Row(id="r", messages=messages), tooled).token_ids_T.tolist() == plain.token_ids_T.tolist()
    calls = (*talk("Where?"), call("find", '{"id": 7}'), Message(role="tool", content="here"), *talk("x", "Here.")[1:])
    row = Row(id="r", messages=calls, tools=({"type": "function", "function": {"name": "find", "parameters": {}}},))
    encoded = encode_row(row, tooled)
    assert tooled.decode(encoded.token_ids_T[encoded.weights_T > 0]) == (
        '<tool_call>\n{"name": "find", "arguments": {"id": 7}}\n</tool_call><|im_end|>Here.<|im_end|>'
    )
    assert find_prompt_mismatches(row, tooled) == ()
