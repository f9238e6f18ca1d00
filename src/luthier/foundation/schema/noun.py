"""The base of all nouns: frozen, closed, and with an identity that can be hashed."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from luthier.foundation.core.hashing import Digest, sha256_json


class Noun(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Identity(Noun):
    """What was decided and made. Its canonical JSON is hashed; parents are part of it."""

    parents: dict[str, Digest] = {}


class Witness(Noun):
    """Times, hosts, durations, estimates: kept, never hashed."""


IdentityT = TypeVar("IdentityT", bound=Identity)
WitnessT = TypeVar("WitnessT", bound=Witness)


class Record(Noun, Generic[IdentityT, WitnessT]):
    """One thing that a stage hands over: an identity and the witness of how it came about.

    The digest is the sha256 of ``{"kind", "schema_version", "identity"}`` in canonical JSON (RFC 8785).
    """

    KIND: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1

    identity: IdentityT
    witness: WitnessT

    @property
    def digest(self) -> str:
        """The record's name everywhere: sha256 of kind, schema version and identity."""
        return sha256_json(
            {
                "kind": self.KIND,
                "schema_version": self.SCHEMA_VERSION,
                "identity": self.identity.model_dump(mode="json"),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is stored and shown by ``--json``."""
        return {
            "kind": self.KIND,
            "schema_version": self.SCHEMA_VERSION,
            "digest": self.digest,
            **self.model_dump(mode="json"),
        }
