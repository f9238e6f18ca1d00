"""From a GGUF file to a plain model folder: safetensors in float32, config.json, tokenizer.json.

Everything is written by us from the file's own metadata, byte for byte the same everywhere, so that a
name can mean one digest. What is not known to come out exactly is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file

from luthier.stages.model.gguf_file import GgufFile, open_gguf
from luthier.stages.model.gguf_tokenizer import build_tokenizer, build_tokenizer_config, check_tokenizer

BLOCK_TENSORS: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_TENSORS: Final = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


@dataclass(frozen=True)
class Architecture:
    """How an architecture's file differs from transformers' model of the same name.

    Attributes:
        model: Class in transformers.
        is_interleaved: Whether llama.cpp interleaves the two rotary halves of queries and keys.
        biased: Block tensors that have a bias.
        config: Settings that the file has no key for.
    """

    model: str
    is_interleaved: bool = False
    biased: frozenset[str] = frozenset()
    config: dict[str, Any] = field(default_factory=dict)


ARCHITECTURES: Final = {
    "llama": Architecture("LlamaForCausalLM", is_interleaved=True, config={"attention_bias": False, "mlp_bias": False}),
    "qwen2": Architecture("Qwen2ForCausalLM", biased=frozenset({"attn_q", "attn_k", "attn_v"})),
}


def convert_gguf(source: Path | GgufFile, folder: Path, *, on_tensor: Callable[[int, int], None] | None = None) -> None:
    """Write a GGUF model as a plain folder that transformers and our own text room read.

    Args:
        source: The GGUF file.
        folder: An existing, empty folder.
        on_tensor: Called with (tensors done, tensors in all).

    Raises:
        ModelError: E-MOD-003 when architecture, number format or tokenizer is not one that we convert, E-MOD-002 for a
            damaged file.
    """
    file = open_gguf(source) if isinstance(source, Path) else source
    check_convertible(file)
    tensors = dict(_iterate_tensors(file, on_tensor))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _build_config(file, is_tied="lm_head.weight" not in tensors))
    _write_json(folder / "generation_config.json", _list_token_ids(file))
    _write_json(folder / "tokenizer.json", build_tokenizer(file))
    _write_json(folder / "tokenizer_config.json", build_tokenizer_config(file))
    template = file.metadata.get("tokenizer.chat_template")
    if template is not None:
        (folder / "chat_template.jinja").write_bytes(str(template).encode())


def check_convertible(file: GgufFile) -> None:
    """Refuse a file whose conversion would be a guess.

    Raises:
        ModelError: E-MOD-003 with the first thing that is not known.
    """
    if file.architecture not in ARCHITECTURES:
        raise file.refuse("general.architecture", got=file.architecture or "nothing", allowed=", ".join(ARCHITECTURES))
    scaling = file.metadata.get(f"{file.architecture}.rope.scaling.type", "none")
    if scaling != "none":
        raise file.refuse("rope scaling", got=scaling, allowed="none")
    check_tokenizer(file)
    for tensor in file.tensors:
        translate_name(file, tensor.name)


def translate_name(file: GgufFile, name: str) -> str:
    """Return transformers' name of a tensor.

    Raises:
        ModelError: E-MOD-003 for a tensor that a plain model of the architecture does not have.
    """
    if name in TOP_TENSORS:
        return TOP_TENSORS[name]
    architecture = ARCHITECTURES[file.architecture]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[1].isdecimal() and parts[2] in BLOCK_TENSORS:
        is_bias = parts[3] == "bias" and parts[2] in architecture.biased
        if parts[3] == "weight" or is_bias:
            return f"model.layers.{parts[1]}.{BLOCK_TENSORS[parts[2]]}.{parts[3]}"
    raise file.refuse("tensor", got=name, allowed=f"the tensors of a plain {architecture.model}")


def _iterate_tensors(
    file: GgufFile, on_tensor: Callable[[int, int], None] | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    num_heads = file.number("attention.head_count")
    heads_of = {"q_proj.weight": num_heads, "k_proj.weight": file.number("attention.head_count_kv", num_heads)}
    is_interleaved = ARCHITECTURES[file.architecture].is_interleaved
    for done, tensor in enumerate(file.tensors, start=1):
        try:
            weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        except NotImplementedError as error:
            got = f"{tensor.tensor_type.name} of {tensor.name}"
            raise file.refuse("number format", got=got, allowed="what the package gguf dequantises") from error
        name = translate_name(file, tensor.name)
        kind = ".".join(name.rsplit(".", 2)[-2:])
        if is_interleaved and kind in heads_of:
            weights = _reverse_permute(weights, heads_of[kind])
        if on_tensor is not None:
            on_tensor(done, len(file.tensors))
        yield name, np.ascontiguousarray(weights)


def _reverse_permute(weights: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Undo llama.cpp's interleaving of the two rotary halves of each head.

    Shapes:
        (heads x head width, model width), rows interleaved; out the same shape, halves apart.

    Source:
        ggml-org/llama.cpp convert_hf_to_gguf.py, LlamaModel.permute, inverted.
    """
    half = weights.shape[0] // num_heads // 2
    return weights.reshape(num_heads, half, 2, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def _build_config(file: GgufFile, *, is_tied: bool) -> dict[str, Any]:
    architecture = ARCHITECTURES[file.architecture]
    heads, width = file.number("attention.head_count"), file.number("embedding_length")
    theta = file.real("rope.freq_base", 10000.0)
    return {
        "architectures": [architecture.model],
        "model_type": file.architecture,
        "vocab_size": len(file.metadata["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": file.number("feed_forward_length"),
        "num_hidden_layers": file.number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.number("attention.head_count_kv", heads),
        "head_dim": file.number("attention.key_length", width // heads),
        "max_position_embeddings": file.number("context_length"),
        "rms_norm_eps": file.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": theta,
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "hidden_act": "silu",
        **architecture.config,
        "tie_word_embeddings": is_tied,
        **_list_token_ids(file),
        "dtype": "float32",
    }


def _list_token_ids(file: GgufFile) -> dict[str, int]:
    kinds = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    found = {key: file.token_id(kind) for key, kind in kinds.items()}
    return {key: value for key, value in found.items() if value is not None}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
