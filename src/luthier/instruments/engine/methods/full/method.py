"""Full tuning at run time: every weight trained, saved as transformers saves a model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from luthier.foundation.core.errors import ModelError
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.methods.full.config import Config


class FullMethod:
    """Train every weight of the base."""

    can_disable = False

    def build(self, loaded: LoadedModel, config: Config, *, seed: int) -> list[nn.Parameter]:  # noqa: ARG002
        """Free every weight; nothing is drawn at random."""
        loaded.model.requires_grad_(requires_grad=True)
        return [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]

    def state(self, loaded: LoadedModel) -> dict[str, Tensor]:
        """Return every weight once, tied ones under their first name."""
        return {name: parameter.detach().cpu() for name, parameter in loaded.model.named_parameters()}

    def load_state(self, loaded: LoadedModel, state: dict[str, Tensor]) -> None:
        """Put every weight back.

        Raises:
            ModelError: E-ENG-009 when names or shapes differ.
        """
        own = dict(loaded.model.named_parameters())
        if own.keys() != state.keys() or any(own[name].shape != value.shape for name, value in state.items()):
            different = sorted(own.keys() ^ state.keys()) or ["shapes"]
            raise ModelError(
                "E-ENG-009",
                "the saved weights are not of this model",
                got=", ".join(different[:3]),
                allowed=f"{len(own)} tensors of {type(loaded.model).__name__}",
                fix="train again, or name the base that it was trained on",
            )
        for name, value in state.items():
            own[name].data.copy_(value)

    def save(self, loaded: LoadedModel, folder: Path) -> None:
        """Write model.safetensors and config.json, readable by transformers."""
        loaded.model.save_pretrained(folder, safe_serialization=True)

    def load(self, loaded: LoadedModel, folder: Path, expected_base_digest: str) -> None:  # noqa: ARG002  stands alone
        """Put a saved model's weights in place of the base's.

        Raises:
            ModelError: E-ENG-009 when files are missing, damaged or of another model.
        """
        state: dict[str, Tensor] = {}
        files = sorted(folder.glob("*.safetensors"))
        try:
            for path in files:
                state |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise _unreadable(folder, str(error)) from error
        if not files:
            raise _unreadable(folder, "no safetensors file")
        self.load_state(loaded, state)

    def merge(self, loaded: LoadedModel) -> None:
        """Do nothing: the trained weights are the model's own."""

    def disabled(self, loaded: LoadedModel) -> AbstractContextManager[None]:
        """Refuse: the base's weights are gone.

        Raises:
            ModelError: E-ENG-010 always.
        """
        raise ModelError(
            "E-ENG-010",
            "full tuning overwrites the base, so it cannot be switched off",
            got=type(loaded.model).__name__,
            allowed="methods with an adapter",
            fix="load the base a second time",
        )


def _unreadable(folder: Path, reason: str) -> ModelError:
    return ModelError(
        "E-ENG-009",
        "the trained weights cannot be read",
        got=reason,
        origin=str(folder),
        fix="luthier train RECIPE --resume",
    )


PLUGIN = FullMethod()
