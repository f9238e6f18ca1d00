"""Luthier: the whole life of a fine-tuned model in one recipe, with evidence at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.foundation.schema.sections import Recipe

__all__ = ["Recipe", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Load public names on first use, so that importing the package costs nothing."""
    if name == "Recipe":
        from luthier.foundation.schema.sections import Recipe  # noqa: PLC0415  lazy root

        return Recipe
    message = f"module 'luthier' has no attribute {name!r}"
    raise AttributeError(message)
