"""Checkpoints: atomic to write, verified before they are trusted, never silently replaced by a default.

A checkpoint is a folder ``step-00000012`` that appears whole or not at all:

    model.safetensors       what the method trains
    optimizer.safetensors   AdamW's moments and step counts, by parameter name
    cursor.json             run key, step, loss guard, best step: everything else that the loop remembers
    manifest.json           the sha256 of each of these

There is no random state: every step draws from a stream of its own, named by seed and step. Resuming goes
from the newest checkpoint to the oldest, sets damaged ones aside in ``quarantine/`` and says so.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from luthier.foundation.core.errors import TrainError
from luthier.foundation.core.files import (
    MANIFEST_NAME,
    TEMPORARY_PREFIX,
    FileSystem,
    disk_errors,
    find_damage,
    write_folder_atomic,
)
from luthier.instruments.engine.tensors_file import read_tensors, write_tensors

MODEL_NAME: Final = "model.safetensors"
OPTIMIZER_NAME: Final = "optimizer.safetensors"
CURSOR_NAME: Final = "cursor.json"
QUARANTINE_NAME: Final = "quarantine"
NUM_KEPT: Final = 2
"""Newest checkpoints that stay, so that one damaged disk block never costs the run."""

STEP_PATTERN: Final = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Snapshot:
    """Everything that a run needs to go on as if it had never stopped.

    Attributes:
        step: Optimizer steps done.
        model: Trained tensors by name.
        optimizer: Optimizer tensors by ``parameter/quantity``.
        cursor: JSON of the loop: see ``loop.py``. ``best_step`` names the checkpoint that is kept as best;
            0 where none is.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    cursor: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in one folder."""

    def __init__(self, folder: Path, *, run_key: str, fs: FileSystem, say: Callable[[str], None]) -> None:
        """Name the folder and who owns it.

        Args:
            folder: Where the checkpoint folders lie; made if absent.
            run_key: Names the run; checkpoints of another run are refused.
            fs: File system to write through.
            say: Told whatever a person should know about damage and resumption.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._run_key = run_key
        self._fs = fs
        self._say = say
        self._verified: set[int] = set()

    def path(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self._folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint folder, newest first, verified or not."""
        found = [STEP_PATTERN.fullmatch(path.name) for path in self._folder.iterdir() if path.is_dir()]
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, read it back against its digests, then let go of those no longer needed.

        Raises:
            StoreError: E-ENV-003 when the disk is full; older checkpoints are intact.
            TrainError: E-TRN-006 when what the disk returns is not what was written.
        """

        def fill(folder: Path) -> None:
            write_tensors(folder / MODEL_NAME, snapshot.model, fs=self._fs)
            write_tensors(folder / OPTIMIZER_NAME, snapshot.optimizer, fs=self._fs)
            cursor = {**snapshot.cursor, "run_key": self._run_key, "step": snapshot.step}
            self._fs.write(folder / CURSOR_NAME, json.dumps(cursor, indent=1, sort_keys=True).encode())

        target = self.path(snapshot.step)
        write_folder_atomic(target, fill, fs=self._fs)
        damage = self._find_damage(snapshot.step)
        if damage is not None:
            raise self._damaged(snapshot.step, damage)
        self._let_go()

    def restore(self) -> Snapshot | None:
        """Load the newest checkpoint that is intact, and set aside every newer one, saying why.

        Returns:
            The snapshot, or None where the run starts from the beginning.

        Raises:
            TrainError: E-TRN-004 when an intact checkpoint belongs to another run.
        """
        for leftover in self._folder.glob(f"{TEMPORARY_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        steps = self.steps()
        for step in steps:
            damage = self._find_damage(step) or self._find_lost_best(step)
            if damage is None:
                return self.load(step)
            place = self._set_aside(step)
            self._say(f"checkpoint of step {step} is not used: {damage}; it was set aside in {place}")
        if steps:
            self._say("no checkpoint is intact: training starts again from step 0")
        return None

    def load(self, step: int) -> Snapshot:
        """Load one checkpoint after verifying every byte of it.

        Raises:
            TrainError: E-TRN-006 when it is damaged.
        """
        damage = self._find_damage(step)
        if damage is not None:
            raise self._damaged(step, damage)
        folder = self.path(step)
        return Snapshot(
            step, read_tensors(folder / MODEL_NAME), read_tensors(folder / OPTIMIZER_NAME), self._read_cursor(step)
        )

    def _read_cursor(self, step: int) -> dict[str, Any]:
        cursor: dict[str, Any] = json.loads((self.path(step) / CURSOR_NAME).read_text(encoding="utf-8"))
        return cursor

    def _find_damage(self, step: int) -> str | None:
        """Say what is wrong with a checkpoint's bytes; refuse one that is whole but another run's."""
        folder = self.path(step)
        damage = find_damage(folder)
        if damage is not None:
            self._verified.discard(step)
            return damage
        for name in (MODEL_NAME, OPTIMIZER_NAME, CURSOR_NAME):
            if not (folder / name).is_file():
                return f"{folder.name}/{name} is not in its {MANIFEST_NAME}"
        owner = self._read_cursor(step).get("run_key")
        if owner != self._run_key:
            raise TrainError(
                "E-TRN-004",
                "the checkpoint in this folder belongs to another run",
                got=f"run key {owner} in {folder}",
                allowed=self._run_key,
                fix=f"mv {self._folder} {self._folder}.other",
            )
        self._verified.add(step)
        return None

    def _find_lost_best(self, step: int) -> str | None:
        """Say so if the checkpoint that this one counts on as its best is gone: then the best must be made again."""
        best = int(self._read_cursor(step)["best_step"])
        if best in {0, step}:
            return None
        damage = self._find_damage(best)
        return None if damage is None else f"the best checkpoint that it builds on is damaged ({damage})"

    def _set_aside(self, step: int) -> Path:
        place = self._folder / QUARANTINE_NAME / f"step-{step:08d}-{uuid.uuid4().hex[:8]}"
        with disk_errors(self._folder, place.name):
            place.parent.mkdir(exist_ok=True)
            self._fs.replace(self.path(step), place)
            self._fs.sync_folder(self._folder)
        return place

    def _let_go(self) -> None:
        """Delete all but the newest verified checkpoints and the best ones that they build on."""
        newest = [step for step in self.steps() if step in self._verified or self._find_damage(step) is None][:NUM_KEPT]
        kept = {*newest, *(int(self._read_cursor(step)["best_step"]) for step in newest)}
        for step in self.steps():
            if step not in kept and step in self._verified:
                doomed = self._folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
                with disk_errors(self._folder, self.path(step).name):
                    self._fs.replace(self.path(step), doomed)  # a half-deleted folder must not look like a checkpoint
                shutil.rmtree(doomed, ignore_errors=True)
                self._verified.discard(step)

    def _damaged(self, step: int, damage: str) -> TrainError:
        return TrainError(
            "E-TRN-006",
            f"the checkpoint of step {step} is damaged",
            got=damage,
            origin=str(self.path(step)),
            allowed="files whose sha256 is the one in the manifest",
            fix="run the same command again: it goes on from an older checkpoint",
        )
