"""The merged export: the recorded base with the trained weights in it, as transformers saves a model."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import ClassVar, Final

from safetensors import SafetensorError

from luthier.foundation.core.errors import DeployError
from luthier.instruments.engine.load import LoadedModel, load_model
from luthier.stages.deploy.comparison import FP32_CONTRACT, Contract
from luthier.stages.deploy.exporter import Trained, load_tuned, merge, write_tokenizer
from luthier.stages.deploy.exporters.merged.config import Config

GENERATION_NAME: Final = "generation_config.json"
FULL_DISK: Final = re.compile(rf"(os error|code:) {errno.ENOSPC}\b")


class MergedExporter:
    """Export one model that stands alone."""

    contract: ClassVar[Contract] = FP32_CONTRACT

    def find_obstacle(self, trained: Trained) -> str:  # noqa: ARG002  every method can be merged
        """Find none: every method can be merged."""
        return ""

    def write(self, trained: Trained, folder: Path, *, config: Config) -> None:  # noqa: ARG002  no options
        """Merge in fp32 on the recorded base and save; weights that the base ties stay tied and are saved once.

        A lower precision would break the contract: rounding to bfloat16 moves log-probabilities by about 0.01 nats.
        """
        loaded = load_tuned(trained, trained.folder)
        merge(loaded, trained.method)
        try:
            loaded.model.save_pretrained(folder, safe_serialization=True)
        except SafetensorError as error:  # its writer reports a full disk as an error of its own kind
            if FULL_DISK.search(str(error)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
            raise
        (folder / GENERATION_NAME).unlink(missing_ok=True)  # the base's own is copied, where there is one
        write_tokenizer(trained, folder)

    def load(self, trained: Trained, folder: Path) -> LoadedModel:
        """Load the folder as it stands.

        Raises:
            ModelError: When it cannot be loaded.
            DeployError: E-DEP-005 when the head is tied to the embedding and the base's is not, or the other way round.
        """
        loaded = load_model(folder)
        if loaded.is_tied != trained.is_tied:
            shown = {True: "is the embedding itself", False: "has weights of its own"}
            raise DeployError(
                "E-DEP-005",
                f"the merged model's head {shown[loaded.is_tied]}, while the base's {shown[trained.is_tied]}",
                got=f"tie_word_embeddings {str(loaded.is_tied).lower()}",
                origin=str(folder),
                allowed=f"tie_word_embeddings {str(trained.is_tied).lower()}, as in {trained.base_name}",
                fix="luthier release export RELEASE --format merged --to DIR",
            )
        return loaded


PLUGIN = MergedExporter()
