"""What a stage is given and gives back. Nothing is ambient: all comes through ``Context``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.files import FileSystem
from luthier.foundation.core.progress import Progress
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.rows import Row

AnyRecord = Any  # a Record of any kind; stages narrow it by the input's name


class Blobs(Protocol):
    """Content-addressed bytes; verified on every read."""

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        ...

    def put_file(self, path: Path) -> str:
        """Store a file's bytes and return their digest."""
        ...

    def get(self, digest: str) -> bytes:
        """Return verified bytes.

        Raises:
            StoreError: When the blob is missing or damaged.
        """
        ...

    def path(self, digest: str) -> Path:
        """Return the path of a verified blob, for memory mapping."""
        ...

    def put_lines(self, objects: Iterable[Mapping[str, Any]]) -> str:
        """Store one canonical JSON object a line."""
        ...

    def get_lines(self, digest: str) -> Iterator[dict[str, Any]]:
        """Read back what ``put_lines`` stored."""
        ...

    def put_rows(self, rows: Iterable[Row]) -> str:
        """Store rows, one a line."""
        ...

    def get_rows(self, digest: str) -> Iterator[Row]:
        """Read rows back."""
        ...


class Context(Protocol):
    """What lifecycle hands to every stage.

    Attributes:
        folder: The stage's own working folder, stable for one cache key: where it resumes from.
        cache_key: sha256 that names this execution; a run's ID is its first 12 digits.
        base_folder: Where relative paths of the recipe start.
    """

    @property
    def blobs(self) -> Blobs:
        """The workspace's blobs."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    @property
    def progress(self) -> Progress:
        """Bars and sentences for the person who waits."""
        ...

    @property
    def fs(self) -> FileSystem:
        """The file system that durable writes go through."""
        ...

    @property
    def folder(self) -> Path:
        """The stage's own working folder, stable for one cache key."""
        ...

    @property
    def workspace_folder(self) -> Path:
        """``.luthier`` itself: what outlives every stage's own folder, such as releases, lies below it."""
        ...

    @property
    def recipe_name(self) -> str:
        """The recipe's name; a stage whose record depends on it says so in ``fingerprint``."""
        ...

    @property
    def audit_head(self) -> str:
        """Hash of the newest audit entry; for witnesses only."""
        ...

    @property
    def base_folder(self) -> Path:
        """Where relative paths of the recipe start."""
        ...

    @property
    def cache_key(self) -> str:
        """Names this execution; a run's ID is its first 12 digits."""
        ...

    @property
    def seed(self) -> int:
        """The recipe's seed; derive named streams from it with ``core.seeds.derive_seed``."""
        ...

    def section(self, name: str) -> Noun:
        """Return another section that the stage's module declares in ``READS``; it is part of the cache key.

        The plan reads ``train`` and the model stage reads ``govern``; a section not declared is refused.
        """
        ...

    def approvals(self, record_digest: str) -> tuple[Approval, ...]:
        """Return the approvals and overrides of a record, oldest first; they are part of the cache key.

        Only a stage with a door before it may ask, and only about the record that the door looks at: deploy about
        the Report (``gated_by`` in ``lifecycle.stages_table``).
        """
        ...

    def audit(self, action: str, **facts: Any) -> None:  # noqa: ANN401  JSON facts
        """Record that something happened."""
        ...

    def call(self, stage: str, section: Noun, inputs: Mapping[str, AnyRecord]) -> AnyRecord:
        """Run another stage that this one declared in ``NEEDS``; cached and parented by lifecycle."""
        ...


class Waiting(Noun):
    """What a stage returns when it cannot go on yet: running again goes on.

    Attributes:
        stage: Which stage waits.
        reason: For what: ``approval``, ``canary``, ``remote_job``.
        detail: One sentence with the command that ends the waiting.
    """

    stage: str
    reason: str
    detail: str


class StageDeclaration(Protocol):
    """What lifecycle must know of a stage before it runs it, or instead of running it.

    It is the stage's module; or, where that reaches torch, ``luthier.stages.<name>.declaration``, so that a run whose
    every stage is there already never waits for torch. Beside ``VERSION`` it may hold, each optional:

    - ``NEEDS: tuple[str, ...]``: stages that it calls with ``ctx.call``;
    - ``READS: tuple[str, ...]``: further sections that it reads with ``ctx.section``;
    - ``fingerprint(section, ctx) -> dict``: values for top-level fields of the section as the cache key sees
      them, such as digests of files instead of their paths; None leaves a field out of the key;
    - ``refresh(record, section, ctx) -> record | None``: on reuse, the same record with a witness that is true
      today, such as where the files lie now; None where what it names is gone, so that it is made again.
    """

    VERSION: int


class StageModule(StageDeclaration, Protocol):
    """What lifecycle runs: ``luthier.stages.<name>.stage``."""

    def run(self, section: Any, inputs: Mapping[str, AnyRecord], ctx: Context) -> AnyRecord | Waiting:  # noqa: ANN401
        """Make the stage's record, or say what it waits for."""
        ...
