"""Our GGUF conversion against transformers' own loading: the same logits, the tokenizer as the file names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Tokenizer

from luthier.foundation.core.errors import ModelError
from luthier.stages.model.gguf_convert import convert_gguf
from luthier.stages.model.gguf_tokenizer import NORMALIZERS, PRE_TOKENIZERS
from tests.fixtures.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    ("architecture", "quantised"),
    [("llama", "F32"), ("llama", "Q8_0"), ("llama", "Q4_0"), ("qwen2", "F16"), ("qwen2", "Q8_0")],
)
def test_logits_equal_those_of_transformers_own_loading(tmp_path: Path, architecture: str, quantised: str) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", architecture=architecture, quantised=quantised)
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


def test_qwen2_text_is_cut_as_transformers_cuts_it() -> None:
    """The split of transformers' own Qwen2 tokenizer on text with numbers, contractions, line ends and accents."""
    theirs = Qwen2Tokenizer(vocab={"a": 0, "<|endoftext|>": 1}, merges=[])
    ours = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    description = json.loads(ours.to_str()) | {
        "pre_tokenizer": PRE_TOKENIZERS["qwen2"],
        "normalizer": NORMALIZERS["qwen2"],
    }
    ours = Tokenizer.from_str(json.dumps(description))
    text = "It's 1234 o'clock, WE'LL see:\n\n\tx  = y;;\r\n  caf\u00e9 cafe\u0301 \u4f60\u597d 3.14\n "
    for tokenizer in (ours, theirs.backend_tokenizer):
        assert tokenizer.normalizer is not None
        assert tokenizer.pre_tokenizer is not None
    expected = theirs.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    assert ours.pre_tokenizer.pre_tokenize_str(text) == expected
    assert ours.normalizer.normalize_str(text) == theirs.backend_tokenizer.normalizer.normalize_str(text)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"architecture": "gpt2"}, "gpt2"),
        ({"pre": "llama-bpe"}, "llama-bpe"),
        ({"rope_scaling": "yarn"}, "yarn"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, change: dict[str, str], named: str) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", **change)
    with pytest.raises(ModelError) as caught:
        convert_gguf(tmp_path / "tiny.gguf", tmp_path)
    problem = caught.value.problems[0]
    assert (problem.code, problem.got, problem.origin) == ("E-MOD-003", named, "tiny.gguf")
    assert problem.allowed
    assert problem.fix
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]
