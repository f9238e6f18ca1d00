"""A model's tokenizer as its folder holds it: text to ids with offsets, and which ids end a turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from luthier.foundation.core.errors import ModelError
from luthier.foundation.core.hashing import sha256_json
from luthier.instruments.text.templates import ChatTemplate

_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text as tokens.

    Attributes:
        ids: Token ids, int32.
        offsets: Characters that each token stands for: start and end, int64. Tokens that share one character (the
            bytes of an emoji) have the same offsets.

    Shapes:
        T tokens: ids (T,), offsets (T, 2).
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]


class TextTokenizer:
    """Turns text into token ids, and says how turns end.

    Args:
        backend: The tokenizer proper.
        special_tokens: ``bos_token``, ``eos_token`` and so on as the model's files name them.
        end_token_ids: Ids that end generation beside the ``eos_token``.
        chat_template: Jinja text, where there is one.
        adds_bos: Whether plain texts begin with the ``bos_token``.

    Raises:
        ModelError: E-TXT-011 when no token ends a turn, E-TXT-001 when the template is none.
    """

    def __init__(
        self,
        backend: Tokenizer,
        *,
        special_tokens: Mapping[str, str],
        end_token_ids: tuple[int, ...] = (),
        chat_template: str | None = None,
        adds_bos: bool = False,
        origin: str = "",
    ) -> None:
        self._backend = backend
        self._special_tokens = dict(special_tokens)
        self.adds_bos = adds_bos
        end_token = special_tokens.get("eos_token", "")
        end_token_id = backend.token_to_id(end_token) if end_token else None
        if end_token_id is None:
            raise ModelError(
                "E-TXT-011",
                "the tokenizer names no end token, so a model could never learn to stop",
                got=f"eos_token {end_token!r}" if end_token else "no eos_token",
                origin=origin,
                allowed="an eos_token that is in the vocabulary",
                fix='add "eos_token" to tokenizer_config.json',
            )
        self.end_token = end_token
        self.end_token_id: int = end_token_id
        self.end_token_ids = frozenset({end_token_id, *end_token_ids})
        self.chat_template = None if chat_template is None else self._make_template(chat_template)

    def _make_template(self, source: str) -> ChatTemplate:
        others = {name: value for name, value in self._special_tokens.items() if name not in {"bos_token", "eos_token"}}
        ends = (self._backend.id_to_token(token_id) for token_id in sorted(self.end_token_ids))
        return ChatTemplate(
            source,
            bos_token=self.bos_token,
            eos_token=self.end_token,
            end_tokens=tuple(token for token in ends if token),
            variables=others,
        )

    @property
    def bos_token(self) -> str:
        """The token that begins a text; empty where there is none."""
        return self._special_tokens.get("bos_token", "")

    @property
    def bos_token_id(self) -> int | None:
        """Its id."""
        return self.token_id(self.bos_token) if self.bos_token else None

    @property
    def vocabulary(self) -> int:
        """Number of token ids, added tokens included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def digest(self) -> str:
        """What the tokenizer does, as one digest: its parts, special tokens, end tokens and template."""
        return sha256_json(
            {
                "tokenizer": self._backend.to_str(),
                "special_tokens": self._special_tokens,
                "end_token_ids": sorted(self.end_token_ids),
                "adds_bos": self.adds_bos,
                "chat_template": self.chat_template.source if self.chat_template else None,
            }
        )

    def with_chat_template(self, source: str) -> TextTokenizer:
        """Return the same tokenizer with another chat template."""
        return TextTokenizer(
            self._backend,
            special_tokens=self._special_tokens,
            end_token_ids=tuple(self.end_token_ids),
            chat_template=source,
            adds_bos=self.adds_bos,
        )

    def token_id(self, token: str) -> int | None:
        """Return a token's id; None where the vocabulary has no such token."""
        found: int | None = self._backend.token_to_id(token)
        return found

    def encode(self, text: str) -> TokenizedText:
        """Tokenise a text as it stands; no token is added."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return TokenizedText(
            np.asarray(encoding.ids, dtype=np.int32), np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        )

    def encode_ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Tokenise many texts at once, without offsets; no token is added."""
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]

    def decode(self, ids: NDArray[np.integer[Any]] | list[int], *, skip_special: bool = False) -> str:
        """Return the text of token ids."""
        return str(self._backend.decode([int(token) for token in ids], skip_special_tokens=skip_special))


def load_tokenizer(folder: Path, *, chat_template: str | None = None) -> TextTokenizer:
    """Load a model folder's tokenizer.

    Args:
        folder: Holds ``tokenizer.json``, ``tokenizer_config.json`` and, where they exist, ``chat_template.jinja``,
            ``special_tokens_map.json`` and ``generation_config.json``.
        chat_template: Takes the place of the folder's own.

    Raises:
        ModelError: E-TXT-010 when a file is missing or damaged, E-TXT-011 without an end token.
    """
    backend = _load_backend(folder / "tokenizer.json")
    config = _load_object(folder / "tokenizer_config.json")
    special_tokens = _find_special_tokens(config, _load_object(folder / "special_tokens_map.json"))
    adds_bos = _adds_bos(backend, special_tokens.get("bos_token"))
    backend.no_truncation()
    backend.no_padding()
    backend.post_processor = None  # it would trim offsets and add tokens; texts are encoded as they stand
    return TextTokenizer(
        backend,
        special_tokens=special_tokens,
        end_token_ids=_find_end_ids(_load_object(folder / "generation_config.json")),
        chat_template=chat_template if chat_template is not None else _find_template(folder, config),
        adds_bos=adds_bos,
        origin=str(folder / "tokenizer_config.json"),
    )


def _load_backend(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the tokenizers package raises nothing more precise for damaged files
        raise _unreadable(path, error) from error


def _load_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(value, dict):
        raise _unreadable(path, f"a {type(value).__name__} instead of an object")
    return value


def _unreadable(path: Path, error: object) -> ModelError:
    return ModelError(
        "E-TXT-010",
        f"the tokenizer cannot be read: {path.name}",
        got=error,
        origin=str(path),
        allowed="tokenizer.json and tokenizer_config.json as transformers writes them",
        fix="copy the model folder again, or save the tokenizer with save_pretrained",
    )


def _find_special_tokens(config: dict[str, Any], special_map: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _TOKEN_NAMES:
        value = config.get(name, special_map.get(name))
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _find_end_ids(generation: dict[str, Any]) -> tuple[int, ...]:
    value = generation.get("eos_token_id")
    ids = value if isinstance(value, list) else [value]
    return tuple(token for token in ids if isinstance(token, int))


def _adds_bos(backend: Tokenizer, bos_token: str | None) -> bool:
    ids = backend.encode("", add_special_tokens=True).ids
    return bool(ids) and bos_token is not None and ids[0] == backend.token_to_id(bos_token)


def _find_template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    value = config.get("chat_template")
    if isinstance(value, list):  # several named templates: the one called default
        value = next((item.get("template") for item in value if item.get("name") == "default"), None)
    return value if isinstance(value, str) else None
