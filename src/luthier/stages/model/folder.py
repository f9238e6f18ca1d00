"""Look into a model folder without running or loading anything: is it safe, what is it, which digest has it."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from luthier.foundation.core.errors import ModelError
from luthier.foundation.core.model_files import IGNORED_NAMES, is_pickle, list_model_files
from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.noun import Noun
from luthier.stages.model.catalogue import ModelKind

CODE_SUFFIXES: Final = frozenset({".py", ".pyc", ".so", ".dll", ".dylib", ".sh"})
USUAL_SUFFIXES: Final = frozenset({".safetensors", ".json", ".txt", ".md", ".jinja", ".model", ".gguf"})
PICKLE_MAGIC: Final = b"\x80"
PICKLE_PROTOCOLS: Final = frozenset({b"\x02", b"\x03", b"\x04", b"\x05"})
ZIP_MAGIC: Final = b"PK\x03\x04"
INTEGER_FORMAT: Final = re.compile(r"[IU]\d+$|BOOL$")
JSON_LIMIT_BYTES: Final = 64 << 20
HEADER_LIMIT_BYTES: Final = 100 << 20
LAYER_NAME: Final = re.compile(r"(?:^|\.)layers\.0\.(?P<rest>.+)\.weight$")
BLOCK_NAME: Final = re.compile(r"(?:^|\.)layers\.(?P<number>\d+)\.")
EXPERT_NAME: Final = re.compile(r"\.experts\.\d+\.")
WEIGHTS_NAME: Final = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
MODEL_FILES: Final = frozenset(
    {
        *("config.json", "generation_config.json", "model.safetensors.index.json", "README.md", "LICENSE"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
        *("merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"),
    }
)
SAFE_ATTENTION: Final = frozenset({"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"})


class Oddity(Noun):
    """Something in a model folder that should not be there; ``is_unsafe`` where it could run code or break loading."""

    name: str
    what: str
    is_unsafe: bool = True


def is_model_file(name: str) -> bool:
    """Tell whether a file, by its name inside the folder, is one that makes a model and is only ever read as data."""
    return name in MODEL_FILES or WEIGHTS_NAME.fullmatch(name) is not None


def find_kind(folder: Path) -> ModelKind:
    """Tell what a model folder is for: one that embeds sentences says so by its layout or its class.

    Raises:
        ModelError: E-MOD-002 when config.json is missing or damaged.
    """
    name = str((read_json(folder / "config.json").get("architectures") or ["unknown"])[0])
    is_encoder = name.endswith("Model") and not name.endswith("LMHeadModel")
    return "embedding" if is_encoder or (folder / "modules.json").is_file() else "base"


def check_writes(folder: Path) -> None:
    """Refuse a model that turns sentences into vectors where one is needed that writes.

    Raises:
        ModelError: E-MOD-010.
    """
    if find_kind(folder) == "embedding":
        raise ModelError(
            "E-MOD-010",
            "this model embeds sentences; it cannot write, so it is no base",
            got=str(read_json(folder / "config.json").get("architectures")),
            origin=str(folder),
            allowed="a causal language model, such as LlamaForCausalLM",
            fix="--set model.base=smollm2-135m-instruct",
            field="model.base",
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read one of the folder's JSON files.

    Raises:
        ModelError: E-MOD-002 when it is missing, too large, or not a JSON object.
    """
    problem = ""
    value: object = None
    if not path.is_file():
        problem = "is missing"
    elif path.stat().st_size > JSON_LIMIT_BYTES:
        problem = f"is larger than {JSON_LIMIT_BYTES >> 20} MiB"
    else:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError):
            problem = "is not JSON"
    if not problem and isinstance(value, dict):
        return value
    raise ModelError(
        "E-MOD-002",
        f"the model folder's {path.name} {problem or 'is not a JSON object'}",
        got=str(path),
        allowed="a model folder with config.json, tokenizer.json and safetensors",
        fix="luthier model pull smollm2-135m-instruct",
    )


def check_safe(folder: Path) -> None:
    """Refuse a folder that could run code when it is loaded.

    Raises:
        ModelError: E-MOD-001 for what :func:`find_oddities` calls unsafe, E-MOD-002 when there are no safetensors.
    """
    if not folder.is_dir():
        raise ModelError(
            "E-MOD-002",
            "there is no model folder here",
            got=str(folder),
            allowed="a folder, or a name from `luthier model list`",
            fix="luthier model list",
        )
    for oddity in find_oddities(folder):
        if oddity.is_unsafe:
            raise refuse_oddity(folder, oddity)
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            "E-MOD-002",
            "the model folder holds no safetensors file",
            got=", ".join(path.name for path in list_model_files(folder)[:8]) or "an empty folder",
            origin=str(folder),
            allowed="weights as *.safetensors",
            fix="convert the weights to safetensors, or pull a base: luthier model pull smollm2-135m-instruct",
        )


def find_oddities(folder: Path) -> Iterator[Oddity]:
    """Find what could run code when a folder is loaded, and what merely does not belong there.

    Raises:
        ModelError: E-MOD-002 for a configuration that is damaged.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() and not path.resolve().exists():
            yield Oddity(name=name, what="a link that leads nowhere")
        elif is_pickle(path):
            yield Oddity(name=name, what="a pickle or another format that can run code when it is read")
        elif path.suffix.lower() in CODE_SUFFIXES:
            yield Oddity(name=name, what="program code")
        elif path.is_file() and _is_disguised(path):
            yield Oddity(name=name, what="a pickle or an archive under another name")
        elif path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            yield Oddity(name=name, what="a link out of the folder", is_unsafe=False)
        elif path.is_file() and path.suffix.lower() not in USUAL_SUFFIXES and path.name not in IGNORED_NAMES:
            yield Oddity(name=name, what="a file that no model needs", is_unsafe=False)
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        if (folder / name).is_file():
            yield from _find_named_code(name, read_json(folder / name))


def refuse_oddity(folder: Path, oddity: Oddity) -> ModelError:
    """Make the error for an unsafe file."""
    return ModelError(
        "E-MOD-001",
        f"the model folder holds {oddity.what}",
        got=oddity.name,
        origin=str(folder),
        allowed="safetensors, JSON and text files; remote code stays off",
        fix=f"use a copy of the model without {oddity.name}",
    )


def _is_disguised(path: Path) -> bool:
    """Tell by its first bytes whether a file is a pickle or a zip archive; a safetensors file may begin with any."""
    if path.suffix.lower() == ".safetensors":
        return False
    with path.open("rb") as stream:
        start = stream.read(4)
    return start == ZIP_MAGIC or (start[:1] == PICKLE_MAGIC and start[1:2] in PICKLE_PROTOCOLS)


def _find_named_code(name: str, config: dict[str, Any]) -> Iterator[Oddity]:
    """Find configuration keys that name code, or an attention kernel from somewhere else (CVE-2026-4372)."""
    for key, value in config.items():
        if key in {"auto_map", "custom_pipelines"} and value:
            yield Oddity(name=f"{name}: {key}", what="a configuration that names remote code")
        is_attention = "attn_implementation" in key and isinstance(value, str)
        if is_attention and value not in SAFE_ATTENTION:
            yield Oddity(name=f"{name}: {key} = {value}", what="a configuration that names an attention kernel")
        if isinstance(value, dict):
            yield from _find_named_code(name, value)


class Tensor(Noun):
    """What a safetensors header says of one tensor; ``format`` is such as ``F32`` or ``BF16``."""

    shape: tuple[int, ...]
    format: str = ""

    @property
    def num_parameters(self) -> int:
        """How many weights it holds; tensors of whole numbers are buffers, not weights."""
        return 0 if INTEGER_FORMAT.match(self.format) else math.prod(self.shape)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read what the safetensors headers say of every tensor; no weights are loaded.

    Raises:
        ModelError: E-MOD-002 for a header that cannot be read or a truncated file.
    """
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= _read_header(path)
    return tensors


def read_tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return every tensor's shape; errors as in :func:`read_tensors`."""
    return {name: tensor.shape for name, tensor in read_tensors(folder).items()}


def _read_header(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, HEADER_LIMIT_BYTES)))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        tensors = {
            name: Tensor(shape=tuple(int(n) for n in entry["shape"]), format=str(entry.get("dtype", "")))
            for name, entry in entries.items()
        }
    except (ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"its header cannot be read ({error})") from error
    if end != size:
        raise _damaged(path, f"it should be {end} bytes long")
    return tensors


def _damaged(path: Path, how: str) -> ModelError:
    return ModelError(
        "E-MOD-002",
        f"the safetensors file is damaged: {how}",
        got=f"{path.name}, {path.stat().st_size} bytes",
        origin=str(path.parent),
        allowed="an undamaged safetensors file",
        fix="copy or pull the model again",
    )


def read_shape(folder: Path) -> ModelShape:
    """Describe the model from its configuration and tensor headers.

    Raises:
        ModelError: E-MOD-002 when files are missing or damaged.
    """
    config = read_json(folder / "config.json")
    text = config.get("text_config", config)
    headers = read_tensors(folder)
    tensors = {name: tensor.shape for name, tensor in headers.items()}
    try:
        heads = int(text["num_attention_heads"])
        width = int(text["hidden_size"])
        head_width = int(text.get("head_dim") or width // heads)
        shape = ModelShape(
            architecture=(config.get("architectures") or ["unknown"])[0],
            num_parameters=sum(tensor.num_parameters for tensor in headers.values()),
            vocabulary=int(text["vocab_size"]),
            width=width,
            num_layers=int(text["num_hidden_layers"]),
            num_heads=heads,
            num_key_value_heads=int(text.get("num_key_value_heads") or heads),
            head_width=head_width,
            feed_forward=int(text["intermediate_size"]),
            max_positions=int(text["max_position_embeddings"]),
            is_tied="lm_head.weight" not in tensors,
            num_experts=int(text.get("num_experts") or text.get("num_local_experts") or 0),
            experts_per_token=int(text.get("num_experts_per_tok") or 0),
            sliding_window=text.get("sliding_window"),
            linear_shapes=_linear_shapes(tensors),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "E-MOD-002",
            f"config.json lacks or garbles a dimension: {error}",
            got=str(folder / "config.json"),
            allowed="hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, vocab_size …",
            fix="use the config.json that belongs to the weights",
        ) from error
    check_shapes(shape, tensors, folder)
    return shape


def check_shapes(shape: ModelShape, tensors: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Refuse a configuration that belongs to other weights; loading would fail late, or make up what is missing.

    Looked at is what every architecture of these tensor names has: the embedding, the first block's attention and
    dense feed-forward layer, and how many blocks there are.

    Raises:
        ModelError: E-MOD-002 with the first dimension that differs.
    """
    for name, found in tensors.items():
        for field, expected, actual in _list_dimensions(shape, name, found):
            if expected != actual:
                raise _differs(folder, field, expected, f"{actual} in {name} of shape {list(found)}")
    blocks = {match["number"] for name in tensors if (match := BLOCK_NAME.search(name)) is not None}
    if blocks and len(blocks) < shape.num_layers:
        raise _differs(folder, "num_hidden_layers", shape.num_layers, f"{len(blocks)} blocks")


def _list_dimensions(shape: ModelShape, name: str, found: tuple[int, ...]) -> Iterator[tuple[str, int, int]]:
    """Yield the dimensions that a tensor repeats: name in config.json, value there, value in the tensor."""
    if len(found) != 2:
        return
    rows, columns = found
    if name.endswith("embed_tokens.weight"):
        yield "vocab_size", shape.vocabulary, rows
        yield "hidden_size", shape.width, columns
    elif name.endswith("layers.0.self_attn.q_proj.weight"):
        yield "hidden_size", shape.width, columns
        width = shape.num_heads * shape.head_width
        yield "num_attention_heads times head_dim", width, rows if rows != 2 * width else width  # 2: gated attention
    elif name.endswith("layers.0.self_attn.k_proj.weight"):
        yield "num_key_value_heads times head_dim", shape.num_key_value_heads * shape.head_width, rows
    elif name.endswith(("layers.0.mlp.gate_proj.weight", "layers.0.mlp.up_proj.weight")):
        yield "intermediate_size", shape.feed_forward, rows


def _differs(folder: Path, field: str, expected: int, found: str) -> ModelError:
    return ModelError(
        "E-MOD-002",
        f"config.json does not belong to the weights: {field} differs",
        got=f"{expected} in config.json, {found}",
        origin=str(folder / "config.json"),
        allowed="the dimensions of the tensors",
        fix="use the config.json that belongs to the weights",
        field=field,
    )


def _linear_shapes(tensors: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    """Collect the linear layers of block 0 by name suffix, one expert standing for all."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, shape in tensors.items():
        found = LAYER_NAME.search(name)
        if found is not None and len(shape) == 2:
            rest = EXPERT_NAME.sub(".experts.", found["rest"])
            shapes.setdefault(rest.rsplit(".", 1)[-1], (shape[0], shape[1]))
    return shapes
