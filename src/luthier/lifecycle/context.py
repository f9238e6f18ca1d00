"""What a stage is given: implements ``foundation.schema.protocols.Context``. Nothing is ambient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.errors import LuthierError, StageFailed
from luthier.foundation.core.files import FileSystem
from luthier.foundation.core.progress import Progress
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.protocols import AnyRecord, Blobs
from luthier.foundation.schema.sections import Recipe
from luthier.foundation.store.workspace import Workspace

Caller = Callable[[str, Noun, Mapping[str, AnyRecord]], AnyRecord]


@dataclass(frozen=True)
class StageContext:
    """One execution's surroundings.

    Attributes:
        stage: The stage's name.
        reads: Further sections that it declared in ``READS``.
        needs: Stages that it declared in ``NEEDS``.
        cache_key: Empty while the key is being computed.
        base_folder: Where relative paths of the recipe start.
        caller: Runs a stage that is called.
        approved: Approvals by the digest of the record that the door before this stage looks at.
    """

    stage: str
    workspace: Workspace
    progress: Progress
    recipe: Recipe
    base_folder: Path
    reads: tuple[str, ...]
    needs: tuple[str, ...]
    caller: Caller
    cache_key: str = ""
    own_folder: Path | None = None
    approved: Mapping[str, tuple[Approval, ...]] = field(default_factory=dict)

    @property
    def blobs(self) -> Blobs:
        """The workspace's blobs."""
        return self.workspace.blobs

    @property
    def clock(self) -> Clock:
        """Time."""
        return self.workspace.clock

    @property
    def fs(self) -> FileSystem:
        """The file system that durable writes go through."""
        return self.workspace.fs

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.recipe.seed

    @property
    def workspace_folder(self) -> Path:
        """``.luthier`` itself."""
        return self.workspace.folder

    @property
    def recipe_name(self) -> str:
        """The recipe's name."""
        return self.recipe.name

    @property
    def audit_head(self) -> str:
        """Hash of the newest audit entry."""
        return self.workspace.audit.head()

    @property
    def folder(self) -> Path:
        """The stage's own working folder; it is there.

        Raises:
            StageFailed: E-LIF-006 while the key is being computed, when there is none yet.
        """
        if self.own_folder is None:
            raise StageFailed(
                "E-LIF-006",
                f"the stage {self.stage} asked for its folder before its cache key was known",
                allowed="blobs, clock, progress, base_folder and seed in `fingerprint` and `refresh`",
                fix="use ctx.folder in `run` only",
            )
        self.own_folder.mkdir(parents=True, exist_ok=True)
        return self.own_folder

    def section(self, name: str) -> Noun:
        """Return another section that the stage declared.

        Raises:
            LuthierError: E-LIF-004 for one that it did not, since the cache key would not know of it.
        """
        if name not in self.reads:
            raise _undeclared(
                f"the stage {self.stage} reads the section {name!r} undeclared", name, "READS", self.reads
            )
        section: Noun = getattr(self.recipe, name)
        return section

    def approvals(self, record_digest: str) -> tuple[Approval, ...]:
        """Return the approvals of the record that the door before this stage looked at, as its cache key saw them.

        Raises:
            LuthierError: E-LIF-004 for another record, since the cache key would not know of it.
        """
        if record_digest not in self.approved:
            raise StageFailed(
                "E-LIF-004",
                f"the stage {self.stage} asks for approvals that its cache key does not see",
                got=record_digest,
                allowed=", ".join(self.approved) or "none: there is no door before it",
                fix=f"set gated_by of {self.stage} in luthier.lifecycle.stages_table",
            )
        return self.approved[record_digest]

    def audit(self, action: str, **facts: Any) -> None:  # noqa: ANN401  JSON facts
        """Record that something happened."""
        self.workspace.audit.append(action, {"stage": self.stage, "cache_key": self.cache_key, **facts})

    def call(self, stage: str, section: Noun, inputs: Mapping[str, AnyRecord]) -> AnyRecord:
        """Run another stage: cached, and a parent of what this one makes.

        Raises:
            LuthierError: E-LIF-004 for a stage that was not declared in ``NEEDS``.
        """
        if stage not in self.needs:
            raise _undeclared(f"the stage {self.stage} calls {stage!r} undeclared", stage, "NEEDS", self.needs)
        return self.caller(stage, section, inputs)


def _undeclared(what: str, name: str, constant: str, declared: tuple[str, ...]) -> LuthierError:
    return StageFailed(
        "E-LIF-004",
        what,
        got=name,
        allowed=", ".join(declared) or f"none: it declares no {constant}",
        fix=f"{constant} = {(*declared, name)!r}",
    )
