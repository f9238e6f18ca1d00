"""Options of the merged export: none."""

from __future__ import annotations

from typing import ClassVar

from luthier.foundation.schema.plugins import ExporterConfig


class Config(ExporterConfig):
    """Give one whole model: the adapter added to its base, fp32 safetensors, tied weights tied."""

    SOURCE: ClassVar[str] = "ours"
