"""The tables of one workspace, in portable SQL. JSON stands in text columns, canonical (RFC 8785)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

WORKSPACE_VERSION: Final = 2

metadata: Final = MetaData()

meta: Final = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

records: Final = Table(
    "records",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("cache_key", String(64), nullable=False),
    Column("identity", Text, nullable=False),
    Column("witness", Text, nullable=False),
    Column("created", String(32), nullable=False),
    Column("position", Integer, nullable=False),
    Index("records_by_kind", "kind", "position"),
)

parents: Final = Table(
    "parents",
    metadata,
    Column("child", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("parent", String(64), nullable=False),
    Index("parents_by_parent", "parent"),
)

executions: Final = Table(
    "executions",
    metadata,
    Column("cache_key", String(64), primary_key=True),
    Column("stage", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("record", String(64)),
    Column("detail", Text, nullable=False),
    Column("witness", Text, nullable=False),
    Column("started", String(32), nullable=False),
    Column("ended", String(32)),
    Index("executions_by_record", "record"),
)

locks: Final = Table(
    "locks",
    metadata,
    Column("cache_key", String(64), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("host", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_start", String(64), nullable=False),
    Column("beats", Integer, nullable=False),
    Column("acquired", String(32), nullable=False),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", String(32), nullable=False),
    Column("action", String(128), nullable=False),
    Column("facts", Text, nullable=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

approvals: Final = Table(
    "approvals",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("record", String(64), nullable=False),
    Column("approver", String(256), nullable=False),
    Column("approver_key", String(1024), nullable=False),
    Column("reason", Text, nullable=False),
    Column("is_override", Integer, nullable=False),
    Column("time", String(32), nullable=False),
    Index("approvals_once", "record", "approver_key", "is_override", unique=True),
)

feedback: Final = Table(
    "feedback",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("time", String(32), nullable=False),
    Column("response_id", String(128), nullable=False),
    Column("release", String(64), nullable=False),
    Column("model", String(256), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("rating", String(16)),
    Column("payload", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reviewed_by", String(256)),
    Column("reviewed_at", String(32)),
    Index("feedback_by_state", "state", "time"),
    Index("feedback_by_response", "response_id"),
)
