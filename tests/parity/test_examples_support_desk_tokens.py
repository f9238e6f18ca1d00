"""How long the support desk's rows are to the default base: what they share is computed once, the rest is short."""

from __future__ import annotations

import json
import os
from os.path import commonprefix
from pathlib import Path
from statistics import median

import pytest

from luthier.examples.support_desk.write import write_company
from luthier.foundation.core.errors import LuthierError
from luthier.instruments.text.encode import EncodedRow, encode_row
from luthier.instruments.text.forms import to_row
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.instruments.text.tool_templates import choose_tool_template
from luthier.stages.model.catalogue import DEFAULT_BASE
from luthier.stages.model.stage import locate_base

pytestmark = pytest.mark.base

LONGEST_ANSWER = 40
LONGEST_OWN_PART = 70


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    try:
        folder = locate_base(DEFAULT_BASE, base_folder=Path(), environment=os.environ)
    except LuthierError as error:
        pytest.skip(f"the default base is not here: {error}")
    plain = load_tokenizer(folder)
    assert plain.chat_template is not None
    return plain.with_chat_template(choose_tool_template(plain.chat_template)[1])


def encode_file(path: Path, tokenizer: TextTokenizer, *, without: set[int]) -> list[EncodedRow]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        encode_row(to_row(json.loads(line), form="messages", source=path.name, line=number), tokenizer)
        for number, line in enumerate(lines, start=1)
        if number not in without
    ]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_own_parts_and_answers_are_short(tokenizer: TextTokenizer, tmp_path: Path, seed: int) -> None:
    files = write_company(tmp_path, seed)
    broken = {json.loads(line)["line"] for line in files.labels.read_text().splitlines()}
    for path, without in ((files.train, broken), (files.held_out, set[int]())):
        rows = encode_file(path, tokenizer, without=without)
        num_shared = len(commonprefix([row.token_ids_T.tolist() for row in rows]))  # noqa: RUF071  lists of ids
        assert median(row.num_tokens - num_shared for row in rows) <= LONGEST_OWN_PART
        assert max(row.num_trained for row in rows) <= LONGEST_ANSWER
        assert num_shared > 300
