"""Records and their lineage. A record's name is its digest, checked against its identity on every read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, func, select

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.errors import LuthierError, RecipeError, StoreError
from luthier.foundation.core.hashing import canonical_json, parse_canonical_json, sha256_json
from luthier.foundation.core.log import get_logger
from luthier.foundation.schema.noun import Record
from luthier.foundation.store import tables
from luthier.foundation.store.database import Database
from luthier.foundation.store.kinds import KINDS, Kind

AnyRecord = Record[Any, Any]
DIGEST_PATTERN: Final = re.compile(r"[0-9a-f]{64}")
SHORTEST_PREFIX: Final = 8
LOGGER: Final = get_logger("foundation.store")


class RecordEntry(NamedTuple):
    """One record as a list shows it."""

    digest: str
    kind: str
    stage: str
    cache_key: str
    created: str


class Ancestor(NamedTuple):
    """One step of a lineage walk: how far, by which name, which record."""

    depth: int
    name: str
    digest: str


class RecordStore:
    """Puts, finds and walks records.

    Args:
        database: The workspace's database.
        clock: Tells when a record was made.
        kinds: Record classes by kind.
    """

    def __init__(self, database: Database, clock: Clock, *, kinds: Mapping[str, Kind] = KINDS) -> None:
        """Remember the database; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._kinds = kinds

    def put(self, record: AnyRecord, *, stage: str, cache_key: str) -> str:
        """Store a record; one that is there keeps its identity and gets the newer witness.

        Returns:
            The record's digest.
        """
        digest = record.digest
        witness = canonical_json(record.witness.model_dump(mode="json")).decode()
        with self._database.write() as connection:
            changed = connection.execute(
                tables.records.update().where(tables.records.c.digest == digest).values(witness=witness)
            )
            if changed.rowcount == 0:
                self._insert(connection, record, witness=witness, stage=stage, cache_key=cache_key)
        return digest

    def _insert(self, connection: Connection, record: AnyRecord, *, witness: str, stage: str, cache_key: str) -> None:
        last = connection.execute(select(func.max(tables.records.c.position))).scalar_one_or_none()
        connection.execute(
            tables.records.insert().values(
                digest=record.digest,
                kind=record.KIND,
                schema_version=record.SCHEMA_VERSION,
                stage=stage,
                cache_key=cache_key,
                identity=canonical_json(record.identity.model_dump(mode="json")).decode(),
                witness=witness,
                created=self._clock.now().isoformat(timespec="microseconds"),
                position=(last or 0) + 1,
            )
        )
        edges = [{"child": record.digest, "name": name, "parent": p} for name, p in record.identity.parents.items()]
        if edges:
            connection.execute(tables.parents.insert(), edges)

    def get(self, digest: str) -> AnyRecord:
        """Return a record whose stored identity still has this digest.

        Raises:
            StoreError: E-STO-004 unknown, E-STO-005 damaged, E-STO-001 written by a newer version.
        """
        with self._database.read() as connection:
            row = connection.execute(select(tables.records).where(tables.records.c.digest == digest)).one_or_none()
        if row is None:
            raise _unknown(digest, [], StoreError)
        return self._load(row)

    def find(self, prefix: str, *, kind: str | None = None) -> str:
        """Return the one digest that begins with a prefix of at least eight digits.

        Raises:
            RecipeError: E-STO-004 when there is none, or more than one: a person wrote it, so the store is sound.
        """
        found: list[str] = []
        if len(prefix) >= SHORTEST_PREFIX and re.fullmatch(r"[0-9a-f]+", prefix):
            statement = select(tables.records.c.digest).where(tables.records.c.digest.startswith(prefix))
            if kind is not None:
                statement = statement.where(tables.records.c.kind == kind)
            with self._database.read() as connection:
                found = list(connection.execute(statement.limit(3)).scalars())
        if len(found) != 1:
            raise _unknown(prefix, found, RecipeError)
        return found[0]

    def latest(self, kind: str) -> AnyRecord | None:
        """Return the record of a kind that was stored last, or None."""
        entries = self.entries(kind=kind, limit=1)
        return self.get(entries[0].digest) if entries else None

    def entries(self, *, kind: str | None = None, limit: int | None = None) -> list[RecordEntry]:
        """List records, newest first."""
        columns = [tables.records.c[name] for name in RecordEntry._fields]
        statement = select(*columns).order_by(tables.records.c.position.desc()).limit(limit)
        if kind is not None:
            statement = statement.where(tables.records.c.kind == kind)
        with self._database.read() as connection:
            return [RecordEntry(*row) for row in connection.execute(statement)]

    def walk_parents(self, digest: str) -> list[Ancestor]:
        """List all ancestors, nearest first, each once."""
        return self._walk(digest, of=tables.parents.c.child, to=tables.parents.c.parent)

    def walk_children(self, digest: str) -> list[Ancestor]:
        """List all descendants, nearest first, each once."""
        return self._walk(digest, of=tables.parents.c.parent, to=tables.parents.c.child)

    def _walk(self, digest: str, *, of: Any, to: Any) -> list[Ancestor]:  # noqa: ANN401  columns
        walked: list[Ancestor] = []
        seen, front, depth = {digest}, [digest], 0
        with self._database.read() as connection:
            while front:
                depth += 1
                statement = select(tables.parents.c.name, to).where(of.in_(front)).order_by(tables.parents.c.name, to)
                front = []
                for name, found in connection.execute(statement):
                    if found not in seen:
                        seen.add(found)
                        front.append(found)
                        walked.append(Ancestor(depth, name, found))
        return walked

    def find_referrers(self, digest: str) -> list[str]:
        """Name the records whose identity or witness mentions a digest, newest first."""
        return [f"{entry.kind} {entry.digest[:12]}" for entry in self.find_mentions(digest)]

    def find_mentions(self, digest: str) -> list[RecordEntry]:
        """List the records whose identity or witness mentions a digest, newest first."""
        columns = [tables.records.c[name] for name in RecordEntry._fields]
        mentions = tables.records.c.identity.contains(digest) | tables.records.c.witness.contains(digest)
        statement = select(*columns).where(mentions).order_by(tables.records.c.position.desc())
        with self._database.read() as connection:
            return [RecordEntry(*row) for row in connection.execute(statement)]

    def mentioned_digests(self) -> set[str]:
        """Return every digest that any record mentions, in identity or witness."""
        statement = select(tables.records.c.identity, tables.records.c.witness)
        found: set[str] = set()
        with self._database.read() as connection:
            for texts in connection.execute(statement):
                for text in texts:
                    found.update(DIGEST_PATTERN.findall(text))
        return found

    def _load(self, row: Row[Any]) -> AnyRecord:
        identity, witness, actual = {}, {}, "unreadable"
        try:
            identity, witness = parse_canonical_json(row.identity), parse_canonical_json(row.witness)
            actual = sha256_json({"kind": row.kind, "schema_version": row.schema_version, "identity": identity})
        except ValueError:
            LOGGER.warning("record %s is not JSON", row.digest[:12])
        if actual != row.digest:
            raise StoreError(
                "E-STO-005",
                f"record {row.digest[:12]} ({row.kind}) differs from its digest",
                got=actual,
                origin="luthier.db",
                allowed=row.digest,
                fix="luthier run RECIPE",
                field=row.digest,
            )
        kind = self._kinds.get(row.kind)
        if kind is None or row.schema_version > kind.record_class.SCHEMA_VERSION:
            raise StoreError(
                "E-STO-001",
                f"record {row.digest[:12]} was written by a newer version of luthier",
                got=f"{row.kind} version {row.schema_version}",
                origin="luthier.db",
                allowed=f"up to version {kind.record_class.SCHEMA_VERSION}" if kind else ", ".join(self._kinds),
                fix="pip install --upgrade luthier",
            )
        for version in range(row.schema_version, kind.record_class.SCHEMA_VERSION):
            identity, witness = kind.upgrades[version](identity, witness)
        return kind.record_class.model_validate({"identity": identity, "witness": witness})


def _unknown(prefix: str, found: Iterable[str], kind: type[LuthierError]) -> LuthierError:
    shown = ", ".join(digest[:16] for digest in found)
    return kind(
        "E-STO-004",
        f"{prefix[:16]!r} names more than one record" if shown else f"there is no record {prefix[:16]!r}",
        got=prefix,
        allowed=shown or f"a digest, or its first {SHORTEST_PREFIX} digits or more",
        fix="luthier runs",
    )
