"""Our safetensors writer against the library that the format belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from luthier.foundation.core.files import REAL
from luthier.instruments.engine.tensors_file import DTYPE_NAMES, read_tensors, write_tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tensors")


@given(
    shapes=st.lists(
        st.tuples(st.sampled_from(sorted(DTYPE_NAMES, key=str)), st.lists(st.integers(0, 4), max_size=3)), max_size=6
    ),
    seed=st.integers(0, 2**31),
)
def test_the_library_reads_every_byte_that_we_wrote(
    folder: Path, shapes: list[tuple[torch.dtype, list[int]]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        f"name/{index}": (torch.rand(shape, generator=generator) * 100 - 50).to(dtype)
        for index, (dtype, shape) in enumerate(shapes)
    }
    path = folder / f"{seed}.safetensors"
    write_tensors(path, tensors, fs=REAL)
    theirs = load_file(path)
    assert theirs.keys() == tensors.keys() == read_tensors(path).keys()
    for name, tensor in tensors.items():
        assert theirs[name].dtype == tensor.dtype
        assert torch.equal(theirs[name], tensor)
    path.unlink()


def test_the_same_tensors_give_the_same_bytes_in_any_order_and_layout(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "a", {"x": base.T, "y": base}, fs=REAL)
    write_tensors(tmp_path / "b", {"y": base.clone(), "x": base.T.contiguous()}, fs=REAL)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_metadata_is_kept_in_one_order_whatever_order_it_came_in(tmp_path: Path) -> None:
    """The library hashes keys at random, so equal adapters would get unequal digests from one process to the next."""
    tensors = {"x": torch.ones(2)}
    write_tensors(tmp_path / "a", tensors, metadata={"format": "pt", "base": "0"})
    write_tensors(tmp_path / "b", tensors, metadata={"base": "0", "format": "pt"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata() == {"format": "pt", "base": "0"}
