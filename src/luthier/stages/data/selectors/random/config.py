"""Options of ``random``."""

from __future__ import annotations

from luthier.foundation.schema.plugins import SelectorConfig


class Config(SelectorConfig):
    """Take rows by a seeded draw: what every other selector is to be measured against."""
