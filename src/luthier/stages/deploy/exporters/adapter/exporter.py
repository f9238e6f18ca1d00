"""The adapter export: the run's own files, byte for byte, and the tokenizer that they were trained with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from luthier.instruments.engine.load import LoadedModel
from luthier.stages.deploy.comparison import FP32_CONTRACT, Contract
from luthier.stages.deploy.exporter import Trained, load_tuned, write_tokenizer
from luthier.stages.deploy.exporters.adapter.config import Config


class AdapterExporter:
    """Export what training made, to be put on its base."""

    contract: ClassVar[Contract] = FP32_CONTRACT

    def find_obstacle(self, trained: Trained) -> str:
        """Say that a method that changes every weight leaves no adapter."""
        return "" if trained.has_adapter else f"method {trained.method} changes the base itself and leaves no adapter"

    def write(self, trained: Trained, folder: Path, *, config: Config) -> None:  # noqa: ARG002  no options
        """Copy the trained files as they are."""
        shutil.copytree(trained.folder, folder, dirs_exist_ok=True)
        write_tokenizer(trained, folder)

    def load(self, trained: Trained, folder: Path) -> LoadedModel:
        """Load the base and put the adapter on it.

        Raises:
            DeployError: E-DEP-002 when the base is not the recorded one.
            ModelError: E-ENG-005 or E-ENG-009 when the adapter does not fit.
        """
        return load_tuned(trained, folder)


PLUGIN = AdapterExporter()
