"""Names that the design promises and this version does not build, so that they are told from typing mistakes."""

from __future__ import annotations

from typing import Final

PLANNED: Final[dict[str, frozenset[str]]] = {
    "operators": frozenset({"language", "quality", "toxicity", "length"}),
    "selectors": frozenset({"less", "ifd", "deita"}),
    "methods": frozenset({"adapter", "spiel", "dora"}),
    "objectives": frozenset({"orpo", "kto", "simpo", "grpo", "reward"}),
    "launchers": frozenset({"ddp", "fsdp", "deepspeed", "ray"}),
    "backends": frozenset({"trl"}),
    "suites": frozenset({"judge", "safety", "memorisation", "calibration"}),
    "exporters": frozenset({"gguf"}),
    "targets": frozenset({"local", "vllm", "docker", "kubernetes", "aws", "azure", "google", "openai"}),
    "detectors": frozenset({"psi"}),
}
"""Planned names by family; a name leaves this table when its row enters ``registry.TABLES``."""
