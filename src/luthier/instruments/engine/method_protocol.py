"""What a method's runtime half does: decide which weights move, keep them, save them, put them back.

``methods/<name>/method.py`` holds ``PLUGIN``, an object of this shape. Methods know nothing of losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from luthier.instruments.engine.load import LoadedModel


class Method(Protocol):
    """Which weights move.

    Attributes:
        can_disable: Whether the base can be had back for a moment without loading it again.
    """

    can_disable: bool

    def build(self, loaded: LoadedModel, config: Any, *, seed: int) -> list[nn.Parameter]:  # noqa: ANN401
        """Change the model in place and return the parameters that get gradients.

        Args:
            loaded: The base.
            config: The method's own config half.
            seed: For initial values; the same seed gives the same bits.
        """
        ...

    def state(self, loaded: LoadedModel) -> dict[str, Tensor]:
        """Return what was trained, on the CPU, by name."""
        ...

    def load_state(self, loaded: LoadedModel, state: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` gave, bit for bit.

        Raises:
            ModelError: E-ENG-009 when names or shapes differ.
        """
        ...

    def save(self, loaded: LoadedModel, folder: Path) -> None:
        """Write what was trained in the format that peers read; the folder exists."""
        ...

    def load(self, loaded: LoadedModel, folder: Path, expected_base_digest: str) -> None:
        """Put what :meth:`save` wrote on a base that nothing was built on yet.

        Raises:
            ModelError: E-ENG-005 when it was trained on another base, E-ENG-009 when files are missing or damaged.
        """
        ...

    def merge(self, loaded: LoadedModel) -> None:
        """Make the trained weights the model's own."""
        ...

    def disabled(self, loaded: LoadedModel) -> AbstractContextManager[None]:
        """Give the base back inside the context.

        Raises:
            ModelError: E-ENG-010 where the method cannot.
        """
        ...


class SharedAdapters(Protocol):
    """Several trained adapters on one base, for serving; each row of a batch uses its own."""

    def add(self, folder: Path, expected_base_digest: str) -> str:
        """Put one more on the base.

        Returns:
            The key that :meth:`using` takes.

        Raises:
            ModelError: E-ENG-005 when it was trained on another base, E-ENG-009 when files are missing or damaged.
        """
        ...

    def using(self, keys: Sequence[str]) -> AbstractContextManager[None]:
        """Inside the context, row i of a pass uses adapter ``keys[i]``; the empty key is the base itself."""
        ...


@runtime_checkable
class SharesBase(Protocol):
    """A method whose adapters can share one load of their base while they are served."""

    def can_share(self, folder: Path) -> bool:
        """Say whether what lies in a folder is plain enough."""
        ...

    def share(self, loaded: LoadedModel) -> SharedAdapters:
        """Prepare a base that nothing was built on yet."""
        ...
