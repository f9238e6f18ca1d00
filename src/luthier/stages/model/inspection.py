"""Say what lies at a path: which kind of model, how large, in which formats, and what in it should not be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from luthier.foundation.core.errors import ModelError
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.noun import Noun
from luthier.instruments.text.tokens import load_tokenizer
from luthier.stages.model.folder import (
    Oddity,
    Tensor,
    check_safe,
    find_kind,
    find_oddities,
    read_json,
    read_shape,
    read_tensors,
)
from luthier.stages.model.gguf_convert import check_convertible
from luthier.stages.model.gguf_file import GgufFile, find_gguf, open_gguf


class Inspection(Noun):
    """What was found; nothing was loaded and nothing ran.

    Attributes:
        kind: ``base`` can be tuned, ``embedding`` turns sentences into vectors, ``adapter`` stands on a base.
        form: How it lies on disk.
        formats: Number formats and how many weights are stored in each; of a GGUF file how many tensors.
        has_chat_template: Whether it says how a conversation is written.
        vocabulary: Tokens that its tokenizer knows; 0 where it brings none.
        stands_on: The base that an adapter names.
        why_no_base: Why it cannot be `model.base` as it is; empty where it can.
        licence: What the files themselves say; empty where they say nothing.
        weights: Digest: of all model files, or of the GGUF file.
    """

    path: str
    kind: Literal["base", "embedding", "adapter"]
    form: Literal["folder", "gguf"]
    architecture: str
    num_parameters: int
    formats: dict[str, int]
    weights: str
    has_chat_template: bool = False
    vocabulary: int = 0
    stands_on: str = ""
    licence: str = ""
    why_no_base: str = ""
    shape: ModelShape | None = None
    oddities: tuple[Oddity, ...] = ()

    @property
    def is_safe(self) -> bool:
        """Whether nothing in it could run code."""
        return not any(oddity.is_unsafe for oddity in self.oddities)


def inspect(path: Path) -> Inspection:
    """Look at a model folder, an adapter's folder or a GGUF file.

    Raises:
        ModelError: E-MOD-002 for what is damaged or no model, E-TXT-010 for a tokenizer that cannot be read.
    """
    gguf = find_gguf(path)
    if gguf is not None:
        return _inspect_gguf(open_gguf(gguf))
    if not path.is_dir():
        check_safe(path)
    oddities = tuple(find_oddities(path))
    if (path / "adapter_config.json").is_file():
        return _inspect_adapter(path, oddities)
    if not any(oddity.is_unsafe for oddity in oddities):
        check_safe(path)
    shape = read_shape(path)
    kind = find_kind(path)
    found = Inspection(
        path=str(path.resolve()),
        kind=kind,
        form="folder",
        architecture=shape.architecture,
        num_parameters=shape.num_parameters,
        formats=_count_formats(read_tensors(path)),
        weights=compute_weights_digest(path),
        shape=shape,
        oddities=oddities,
    )
    if kind == "embedding":
        return found.model_copy(update={"vocabulary": shape.vocabulary, "why_no_base": "it embeds sentences"})
    tokenizer = load_tokenizer(path)
    has_template = tokenizer.chat_template is not None
    why = "" if has_template else "it has no chat template"
    changes = {"vocabulary": tokenizer.vocabulary, "has_chat_template": has_template, "why_no_base": why}
    return found.model_copy(update=changes)


def _inspect_adapter(path: Path, oddities: tuple[Oddity, ...]) -> Inspection:
    config = read_json(path / "adapter_config.json")
    tensors = read_tensors(path)
    if not tensors:
        raise ModelError(
            "E-MOD-002",
            "the adapter's folder holds no adapter_model.safetensors",
            got=", ".join(sorted(file.name for file in path.iterdir())[:8]),
            origin=str(path),
            allowed="adapter_config.json and adapter_model.safetensors",
            fix="copy the adapter again",
        )
    return Inspection(
        path=str(path.resolve()),
        kind="adapter",
        form="folder",
        architecture=str(config.get("peft_type", "unknown")).lower(),
        num_parameters=sum(tensor.num_parameters for tensor in tensors.values()),
        formats=_count_formats(tensors),
        weights=compute_weights_digest(path),
        stands_on=str(config.get("base_model_name_or_path") or ""),
        why_no_base="it is an adapter",
        oddities=oddities,
    )


def _inspect_gguf(file: GgufFile) -> Inspection:
    why = ""
    try:
        check_convertible(file)
    except ModelError as error:
        problem = error.problems[0]
        why = f"{problem.what}: {problem.got}"
    has_template = "tokenizer.chat_template" in file.metadata
    return Inspection(
        path=str(file.path.resolve()),
        kind="base",
        form="gguf",
        architecture=file.architecture,
        num_parameters=file.num_parameters,
        formats=file.formats,
        weights=sha256_file(file.path),
        licence=file.licence,
        has_chat_template=has_template,
        vocabulary=len(file.metadata.get("tokenizer.ggml.tokens", ())),
        why_no_base=why or ("" if has_template else "it has no chat template"),
    )


def _count_formats(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    formats: Counter[str] = Counter()
    for tensor in tensors.values():
        formats[tensor.format] += tensor.num_parameters
    return {name: number for name, number in formats.most_common() if number}
