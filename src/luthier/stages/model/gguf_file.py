"""From a GGUF file to a plain model folder: safetensors in float32, config.json, tokenizer.json.

Everything is written by us from the file's own metadata, byte for byte the same everywhere, so that a
name can mean one digest. Only the ``llama`` architecture with a byte-level BPE vocabulary is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file

from luthier.foundation.core.errors import ModelError

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
CONTROL_TOKEN: Final = 3  # tokenizer.ggml.token_type of tokens that are never merged from text

PRE_TOKENIZERS: Final[dict[str, dict[str, Any]]] = {
    # tokenizer.ggml.pre "smollm": digits one by one, then byte level. transformers' own conversion leaves the
    # digits out, and ids differ from those the model was trained on.
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    },
    "gpt-2": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
}


def convert_gguf(source: Path, folder: Path, *, on_tensor: Callable[[int, int], None] | None = None) -> None:
    """Write a GGUF model as a plain folder that transformers and our own text room read.

    Args:
        source: The GGUF file.
        folder: An existing, empty folder.
        on_tensor: Called with (tensors done, tensors in all).

    Raises:
        ModelError: E-MOD-003 when the architecture or the tokenizer is not one that we convert.
    """
    reader = GGUFReader(source)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    _require(metadata, "general.architecture", {"llama"}, source)
    _require(metadata, "tokenizer.ggml.model", {"gpt2"}, source)
    _require(metadata, "tokenizer.ggml.pre", set(PRE_TOKENIZERS), source)
    tensors = dict(_iterate_tensors(reader, metadata, on_tensor))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _build_config(metadata, is_tied="lm_head.weight" not in tensors))
    _write_json(folder / "generation_config.json", _build_generation_config(metadata))
    _write_json(folder / "tokenizer.json", _build_tokenizer(metadata))
    _write_json(folder / "tokenizer_config.json", _build_tokenizer_config(metadata))
    (folder / "chat_template.jinja").write_bytes(str(metadata["tokenizer.chat_template"]).encode())


def _require(metadata: dict[str, Any], key: str, allowed: set[str], source: Path) -> None:
    if metadata.get(key) not in allowed:
        raise ModelError(
            "E-MOD-003",
            f"the GGUF file's {key} is not one that is converted",
            got=metadata.get(key, "nothing"),
            origin=source.name,
            allowed=", ".join(sorted(allowed)),
            fix="use a folder with safetensors of the same model",
        )


def _iterate_tensors(
    reader: GGUFReader, metadata: dict[str, Any], on_tensor: Callable[[int, int], None] | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    num_heads = int(metadata["llama.attention.head_count"])
    num_key_value_heads = int(metadata.get("llama.attention.head_count_kv", num_heads))
    for done, tensor in enumerate(reader.tensors, start=1):
        weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        name = _translate_name(tensor.name)
        if name.endswith("q_proj.weight"):
            weights = _reverse_permute(weights, num_heads)
        if name.endswith("k_proj.weight"):
            weights = _reverse_permute(weights, num_key_value_heads)
        if on_tensor is not None:
            on_tensor(done, len(reader.tensors))
        yield name, np.ascontiguousarray(weights)


def _translate_name(name: str) -> str:
    if name in TOP_TENSORS:
        return TOP_TENSORS[name]
    block, index, kind, suffix = name.split(".")
    if block != "blk" or kind not in BLOCK_TENSORS or suffix != "weight":
        raise ModelError(
            "E-MOD-003",
            "the GGUF file holds a tensor that is not converted",
            got=name,
            allowed="the tensors of a plain Llama",
            fix="use a folder with safetensors of the same model",
        )
    return f"model.layers.{index}.{BLOCK_TENSORS[kind]}.weight"


def _reverse_permute(weights: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Undo llama.cpp's interleaving of the two rotary halves of each head.

    Shapes:
        (heads x head width, model width), rows interleaved; out the same shape, halves apart.

    Source:
        ggml-org/llama.cpp convert_hf_to_gguf.py, LlamaModel.permute, inverted.
    """
    half = weights.shape[0] // num_heads // 2
    return weights.reshape(num_heads, half, 2, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def _build_config(metadata: dict[str, Any], *, is_tied: bool) -> dict[str, Any]:
    heads = int(metadata["llama.attention.head_count"])
    width = int(metadata["llama.embedding_length"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": int(metadata["llama.feed_forward_length"]),
        "num_hidden_layers": int(metadata["llama.block_count"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(metadata.get("llama.attention.head_count_kv", heads)),
        "head_dim": width // heads,
        "max_position_embeddings": int(metadata["llama.context_length"]),
        "rms_norm_eps": float(metadata["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": float(metadata["llama.rope.freq_base"]),
        "rope_parameters": {"rope_theta": float(metadata["llama.rope.freq_base"]), "rope_type": "default"},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": is_tied,
        "bos_token_id": int(metadata["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(metadata["tokenizer.ggml.eos_token_id"]),
        "pad_token_id": int(metadata["tokenizer.ggml.padding_token_id"]),
        "dtype": "float32",
    }


def _build_generation_config(metadata: dict[str, Any]) -> dict[str, Any]:
    keys = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {key: int(metadata[f"tokenizer.ggml.{name}_token_id"]) for key, name in keys.items()}


def _build_tokenizer(metadata: dict[str, Any]) -> dict[str, Any]:
    tokens = [str(token) for token in metadata["tokenizer.ggml.tokens"]]
    kinds = metadata["tokenizer.ggml.token_type"]
    control = [index for index, kind in enumerate(kinds) if int(kind) == CONTROL_TOKEN]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": tokens[index],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index in control
        ],
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[metadata["tokenizer.ggml.pre"]],
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [str(merge).split(" ", 1) for merge in metadata["tokenizer.ggml.merges"]],
        },
    }


def _build_tokenizer_config(metadata: dict[str, Any]) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]

    def token(kind: str) -> str:
        return str(tokens[int(metadata[f"tokenizer.ggml.{kind}_token_id"])])

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": False,
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "unk_token": token("unknown"),
        "pad_token": token("padding"),
        "model_max_length": int(metadata["llama.context_length"]),
        "clean_up_tokenization_spaces": False,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
