"""Options of the adapter export: none."""

from __future__ import annotations

from typing import ClassVar

from luthier.foundation.schema.plugins import ExporterConfig


class Config(ExporterConfig):
    """Give the trained adapter alone, in PEFT's layout, with tokenizer and chat template."""

    SOURCE: ClassVar[str] = "ours"
