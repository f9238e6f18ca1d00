"""What an exporter is given and does, and the files that every export carries: tokenizer and chat template."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from luthier.foundation import registry
from luthier.foundation.core.errors import DeployError
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.protocols import Blobs
from luthier.foundation.schema.run import Run
from luthier.instruments.engine.load import LoadedModel, load_model
from luthier.stages.deploy.comparison import Contract

TEMPLATE_NAME: Final = "chat_template.jinja"
TOKENIZER_CONFIG_NAME: Final = "tokenizer_config.json"
COPIED_NAMES: Final = (
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "generation_config.json",
)


@dataclass(frozen=True)
class Trained:
    """What training left behind, as files, and the base that it stands on.

    Attributes:
        base_folder: Where the base lies on this machine.
        base_name: Its catalogue name or its folder's.
        base_digest: The digest that the ModelChoice recorded.
        is_tied: Whether the base's head is its embedding.
        method: Which weights moved.
        folder: Trained files by the names that the method gave them.
        chat_template: The template in training, to the byte.
    """

    base_folder: Path
    base_name: str
    base_digest: str
    is_tied: bool
    method: str
    folder: Path
    chat_template: str

    @property
    def has_adapter(self) -> bool:
        """Whether the trained files stand beside the base instead of in its place."""
        return bool(registry.load_runtime("methods", self.method).can_disable)


def lay_out_trained(model: ModelChoice, train: Run, folder: Path, blobs: Blobs) -> Trained:
    """Write the run's files under their own names, and say what they stand on.

    Args:
        model: The base.
        train: The run.
        folder: Where the files go; what lies there is replaced.
        blobs: Where the files are.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, digest in train.identity.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(blobs.path(digest), place)
    return Trained(
        base_folder=Path(model.witness.path),
        base_name=model.identity.name,
        base_digest=train.identity.base,
        is_tied=model.identity.shape.is_tied,
        method=str(train.identity.method["type"]),
        folder=folder,
        chat_template=blobs.get(model.identity.chat_template).decode(),
    )


class Exporter(Protocol):
    """One form in which a release can be had. ``exporters/<name>/exporter.py`` holds ``PLUGIN``, one of these."""

    contract: Contract

    def find_obstacle(self, trained: Trained) -> str:
        """Say why this run has no such export; empty where it has."""
        ...

    def write(self, trained: Trained, folder: Path, *, config: Any) -> None:  # noqa: ANN401  the exporter's options
        """Write the export into an empty folder, so that it works on its own or on its base.

        Raises:
            DeployError: E-DEP-002 when the base is not the recorded one.
        """
        ...

    def load(self, trained: Trained, folder: Path) -> LoadedModel:
        """Load what :meth:`write` wrote, as those who serve it do, in fp32.

        Raises:
            ModelError: When the export cannot be loaded.
            DeployError: E-DEP-002 when the base is not the recorded one.
        """
        ...


def check_base(trained: Trained) -> None:
    """Refuse a base whose bytes are not those that training stood on.

    Raises:
        DeployError: E-DEP-002.
    """
    found = compute_weights_digest(trained.base_folder)
    if found != trained.base_digest:
        raise DeployError(
            "E-DEP-002",
            "the base is not the one that was trained on: its files differ",
            got=f"base {found[:12]}",
            origin=str(trained.base_folder),
            needs=f"base {trained.base_digest[:12]} ({trained.base_name})",
            allowed="the very files that the run's ModelChoice records",
            fix=f"luthier model pull {trained.base_name}",
        )


def load_tuned(trained: Trained, folder: Path) -> LoadedModel:
    """Load the base in fp32 and put trained files on it.

    Raises:
        DeployError: E-DEP-002 when the base is not the recorded one.
        ModelError: When base or trained files cannot be loaded, or the files belong to another base.
    """
    check_base(trained)
    loaded = load_model(trained.base_folder, base_name=trained.base_name, base_digest=trained.base_digest)
    registry.load_runtime("methods", trained.method).load(loaded, folder, trained.base_digest)
    return loaded


def merge(loaded: LoadedModel, method: str) -> None:
    """Make the trained weights the model's own."""
    registry.load_runtime("methods", method).merge(loaded)


def write_tokenizer(trained: Trained, folder: Path) -> None:
    """Copy the base's tokenizer beside an export and write the template of training, in one place only.

    Other programs take the template from ``tokenizer_config.json`` where it stands there too, and two copies of one
    thing come to differ.
    """
    for name in COPIED_NAMES:
        if (trained.base_folder / name).is_file():
            shutil.copyfile(trained.base_folder / name, folder / name)
    settings = json.loads((trained.base_folder / TOKENIZER_CONFIG_NAME).read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / TOKENIZER_CONFIG_NAME).write_text(text, encoding="utf-8")
    (folder / TEMPLATE_NAME).write_bytes(trained.chat_template.encode())
