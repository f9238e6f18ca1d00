"""Our GGUF conversion against transformers' own loading: the same logits, the tokenizer as the file names it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.foundation.core.errors import ModelError
from luthier.stages.model.gguf_file import convert_gguf
from tests.fixtures.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.parity


def test_logits_equal_those_of_transformers_own_loading(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    folder = tmp_path / "plain"
    folder.mkdir()
    convert_gguf(tmp_path / "tiny.gguf", folder)
    ids_BT = torch.arange(3, 60).reshape(3, 19)
    ours = AutoModelForCausalLM.from_pretrained(folder)(ids_BT).logits
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf")(ids_BT).logits
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=0.0)  # the same float32 weights: no tolerance needed


def test_digits_stand_alone_and_line_ends_join_as_the_file_says(tmp_path: Path) -> None:
    """``tokenizer.ggml.pre = smollm``: each digit its own token, then byte level merges across other text.

    By hand from the tiny vocabulary (merges: newline newline, space space, t h, th e).
    """
    write_tiny_gguf(tmp_path / "tiny.gguf")
    folder = tmp_path / "plain"
    folder.mkdir()
    convert_gguf(tmp_path / "tiny.gguf", folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("\n\n1.").tokens == ["ĊĊ", "1", "."]
    assert tokenizer.encode("a  12").tokens == ["a", "ĠĠ", "1", "2"]
    assert tokenizer.encode("<|im_end|>the").tokens == ["<|im_end|>", "the"]
    assert tokenizer.decode(tokenizer.encode("the  a\n\n12").ids) == "the  a\n\n12"
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs("a  12\n\n1.", add_special_tokens=False)["input_ids"] == tokenizer.encode("a  12\n\n1.").ids


@pytest.mark.parametrize("change", [{"architecture": "gpt2"}, {"pre": "qwen2"}])
def test_what_is_not_known_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", **change)
    with pytest.raises(ModelError, match="E-MOD-003"):
        convert_gguf(tmp_path / "tiny.gguf", tmp_path)
