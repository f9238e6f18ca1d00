"""The byte-level BPE tokenizer that a GGUF file describes, as tokenizer.json and tokenizer_config.json."""

from __future__ import annotations

from typing import Any, Final

from luthier.stages.model.gguf_file import GgufFile

CONTROL_TOKEN: Final = 3  # tokenizer.ggml.token_type of tokens that are never merged from text
USER_TOKEN: Final = 4  # the same, but shown when text is decoded, such as <tool_call>

BYTE_LEVEL: Final = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
QWEN2_PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

PRE_TOKENIZERS: Final[dict[str, dict[str, Any]]] = {
    # tokenizer.ggml.pre "smollm": digits one by one, then byte level. transformers' own conversion leaves the
    # digits out, and ids differ from those the model was trained on.
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
    "gpt-2": BYTE_LEVEL,
    "qwen2": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False},
            {**BYTE_LEVEL, "use_regex": False},
        ],
    },
}
NORMALIZERS: Final[dict[str, dict[str, str]]] = {"qwen2": {"type": "NFC"}}


def check_tokenizer(file: GgufFile) -> None:
    """Refuse a tokenizer whose ids might differ from those that the model was trained on.

    Raises:
        ModelError: E-MOD-003.
    """
    for key, allowed in (("tokenizer.ggml.model", ("gpt2",)), ("tokenizer.ggml.pre", tuple(PRE_TOKENIZERS))):
        if file.metadata.get(key) not in allowed:
            raise file.refuse(key, got=file.metadata.get(key, "nothing"), allowed=", ".join(allowed))
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"):
        if not file.metadata.get(key):
            raise file.refuse(key, allowed="a list")
    if file.token_id("eos") is None:
        raise file.refuse("tokenizer.ggml.eos_token_id", allowed="the token that ends a turn")
    num_tokens = len(file.metadata["tokenizer.ggml.tokens"])
    for kind in ("bos", "eos", "unknown", "padding"):
        token = file.token_id(kind)
        if token is not None and not 0 <= token < num_tokens:
            raise file.refuse(f"{kind} token", got=token, allowed=f"an id below {num_tokens}")


def build_tokenizer(file: GgufFile) -> dict[str, Any]:
    """Return what tokenizer.json holds; the file has passed :func:`check_tokenizer`."""
    tokens = [str(token) for token in file.metadata["tokenizer.ggml.tokens"]]
    kinds = [int(kind) for kind in file.metadata["tokenizer.ggml.token_type"]]
    pre = file.metadata["tokenizer.ggml.pre"]
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
                "special": kind == CONTROL_TOKEN,
            }
            for index, kind in enumerate(kinds)
            if kind in {CONTROL_TOKEN, USER_TOKEN}
        ],
        "normalizer": NORMALIZERS.get(pre),
        "pre_tokenizer": PRE_TOKENIZERS[pre],
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
            "merges": [str(merge).split(" ", 1) for merge in file.metadata["tokenizer.ggml.merges"]],
        },
    }


def build_tokenizer_config(file: GgufFile) -> dict[str, Any]:
    """Return what tokenizer_config.json holds."""
    tokens = file.metadata["tokenizer.ggml.tokens"]
    kinds = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: file.token_id(kind) for name, kind in kinds.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(file.metadata.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": False,
        **{name: str(tokens[index]) for name, index in ids.items() if index is not None},
        "model_max_length": file.number("context_length"),
        "clean_up_tokenization_spaces": False,
    }
