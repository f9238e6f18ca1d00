"""What is served, as files; and one load of each base for all adapters that can share it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from luthier.foundation import registry
from luthier.foundation.schema.serving import ServedModel
from luthier.instruments.engine.load import LoadedModel, load_model
from luthier.instruments.engine.method_protocol import SharedAdapters, SharesBase
from luthier.instruments.engine.serving.decoders import RowDecoder, make_decoder
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.instruments.text.tool_calls import find_call_style

UNBOUNDED: Final = 2**20


@dataclass(frozen=True, slots=True)
class ServedSource:
    """One model on disk and the name that it is asked by.

    Attributes:
        name: What requests say.
        ref: As a person wrote it.
        digest: Release digest, or digest of the weights where it is no release.
        base: Name of the base.
        base_folder: Safetensors, configuration, tokenizer.
        base_digest: Digest of the base's weights.
        method: How the trained files change the base; empty where there are none.
        trained_folder: The trained files; None for a model that stands alone.
        chat_template: Takes the place of the folder's own.
        created: Seconds since 1970.
    """

    name: str
    ref: str
    digest: str
    base: str
    base_folder: Path
    base_digest: str
    method: str = ""
    trained_folder: Path | None = None
    chat_template: str | None = None
    created: int = 0


@dataclass(eq=False)
class LoadedBase:
    """One base in memory.

    Attributes:
        loaded: The model.
        method: Whose adapters share it; empty while none do.
        adapters: Those adapters.
        is_shared: False where a method changed the base itself.
    """

    loaded: LoadedModel
    folder: Path
    method: str = ""
    adapters: SharedAdapters | None = None
    is_shared: bool = True

    def make_decoder(self) -> RowDecoder:
        """Make a decoder without rows."""
        return make_decoder(self.loaded, self.adapters)


@dataclass(frozen=True, slots=True)
class ServedEntry:
    """One name, ready to be asked.

    Attributes:
        served: What is said about it.
        place: Which loaded base answers.
        key: Its adapter; empty for the base.
        tokenizer: With the chat template that it was trained with.
        call_style: How its template writes tool calls.
    """

    served: ServedModel
    place: int
    key: str
    tokenizer: TextTokenizer
    call_style: str


@dataclass
class Shelf:
    """Loaded bases and the names that they answer to.

    Attributes:
        precision: What weights are held in.
    """

    precision: Literal["fp32", "bf16"] = "fp32"
    bases: list[LoadedBase] = field(default_factory=list)
    entries: dict[str, ServedEntry] = field(default_factory=dict)

    def add_all(self, sources: Iterable[ServedSource]) -> None:
        """Load models; a base that several stand on is loaded once.

        Raises:
            ModelError: When a folder cannot be loaded or an adapter was trained on another base.
        """
        for source in sources:
            tokenizer = load_tokenizer(source.base_folder, chat_template=source.chat_template)
            template = tokenizer.chat_template
            place, key = self._place(source)
            self.entries[source.name] = ServedEntry(
                ServedModel(
                    name=source.name,
                    ref=source.ref,
                    digest=source.digest,
                    base=source.base,
                    max_positions=_read_max_positions(source.base_folder),
                    created=source.created,
                ),
                place,
                key,
                tokenizer,
                find_call_style(template) if template else "none",
            )

    def _place(self, source: ServedSource) -> tuple[int, str]:
        """Return which base answers and which of its adapters."""
        if source.trained_folder is None:
            return self._find_base(source, ""), ""
        method = registry.load_runtime("methods", source.method)
        if isinstance(method, SharesBase) and method.can_share(source.trained_folder):
            place = self._find_base(source, source.method)
            base = self.bases[place]
            if base.adapters is None:
                base.method, base.adapters = source.method, method.share(base.loaded)
            return place, base.adapters.add(source.trained_folder, source.base_digest)
        base = LoadedBase(self._load(source), source.base_folder, source.method, is_shared=False)
        method.load(base.loaded, source.trained_folder, source.base_digest)
        base.loaded.model.requires_grad_(requires_grad=False)
        base.loaded.model.eval()
        self.bases.append(base)
        return len(self.bases) - 1, ""

    def _find_base(self, source: ServedSource, method: str) -> int:
        for place, base in enumerate(self.bases):
            is_same = base.is_shared and base.folder == source.base_folder
            if is_same and (not method or base.method in {"", method}):
                return place
        self.bases.append(LoadedBase(self._load(source), source.base_folder))
        return len(self.bases) - 1

    def _load(self, source: ServedSource) -> LoadedModel:
        return load_model(
            source.base_folder, dtype=self.precision, base_name=source.base, base_digest=source.base_digest
        )


def _read_max_positions(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    return int(text.get("max_position_embeddings") or UNBOUNDED)
