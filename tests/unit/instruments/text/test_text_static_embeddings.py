"""Vectors of texts from a base's safetensors: equal to what the safetensors library and plain means give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from luthier.foundation.core.errors import ModelError
from luthier.instruments.text.static_embeddings import open_embeddings
from tests.fixtures.text_tokenizers import make_backend, write_tokenizer

TEXTS = ["please reset my card", "", "where is my parcel, where is it"]


def write_base(folder: Path, dtype: torch.dtype, *, name: str = "model.embed_tokens.weight") -> torch.Tensor:
    write_tokenizer(folder)
    table = torch.randn(make_backend().get_vocab_size(), 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"a.norm.weight": torch.ones(6), name: table}, folder / "model.safetensors")
    return table.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_texts_vector_is_the_mean_of_its_tokens_rows(tmp_path: Path, dtype: torch.dtype) -> None:
    table = write_base(tmp_path, dtype)
    embeddings = open_embeddings(tmp_path)
    ids = embeddings.tokenizer.encode_ids(TEXTS)
    found = embeddings.embed(ids)

    assert [own.tolist() for own in ids] == [embeddings.tokenizer.encode(text).ids.tolist() for text in TEXTS]
    for own, vector in zip(ids, found, strict=True):
        if len(own):
            np.testing.assert_allclose(vector, table[torch.tensor(own).long()].mean(0).numpy(), atol=1e-6)
    assert np.isnan(found[1]).all()
    assert embeddings.embed([]).shape == (0, 6)


def test_the_shard_that_the_index_names_is_read(tmp_path: Path) -> None:
    table = write_base(tmp_path, torch.float32, name="transformer.wte.weight")
    (tmp_path / "model.safetensors").rename(tmp_path / "b.safetensors")
    save_file({"x": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "transformer.wte.weight": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    embeddings = open_embeddings(tmp_path)
    np.testing.assert_allclose(embeddings.embed([np.array([5], dtype=np.int32)])[0], table[5].numpy())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.safetensors", b"\xff" * 64),
        ("model.safetensors", (4).to_bytes(8, "little") + b"{no}"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]"),
        ("model.safetensors.index.json", b"[]"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path: Path, name: str, data: bytes) -> None:
    write_base(tmp_path, torch.float32)
    (tmp_path / name).write_bytes(data)

    with pytest.raises(ModelError) as caught:
        open_embeddings(tmp_path)
    assert caught.value.code == "E-MON-008"
    assert str(tmp_path) in caught.value.problems[0].origin


def test_a_base_without_input_embeddings_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    save_file({"lm_head.weight": torch.ones(4, 4)}, tmp_path / "model.safetensors")

    with pytest.raises(ModelError) as caught:
        open_embeddings(tmp_path)
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == ("E-MON-008", 2)
    assert problem.got
    assert problem.allowed
    assert problem.fix.startswith("--base")
