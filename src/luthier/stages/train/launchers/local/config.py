"""Options of the local launcher."""

from __future__ import annotations

from luthier.foundation.schema.plugins import LauncherConfig


class Config(LauncherConfig):
    """Train in this process, on its accelerator where it has one, else on its processor."""
