"""Manifests of digests and their signatures.

A manifest maps a file's path to its sha256. What is hashed and signed is its canonical JSON (RFC 8785), so anyone can
check it with other tools: ``sha256sum``, ``openssl pkeyutl -verify -rawin``. Without a key a signature is the
manifest's plain sha256: it finds changes, and says nothing about who made it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import StringConstraints

from luthier.foundation.core.errors import EnvironmentLacks, MissingExtra, PolicyDenied
from luthier.foundation.core.hashing import Digest, canonical_json, sha256_bytes
from luthier.foundation.schema.noun import Noun

try:
    from luthier.instruments.govern import ed25519
except ModuleNotFoundError:  # the extra `sign` is not installed
    ed25519 = None  # type: ignore[assignment]

KEY_VARIABLE: Final = "LUTHIER_SIGNING_KEY"
FINGERPRINT_DIGITS: Final = 16
HexText = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})*$")]


class Signature(Noun):
    """What stands beside a manifest.

    Attributes:
        scheme: ``sha256-manifest`` is no signature by anyone.
        manifest: sha256 of the manifest's canonical JSON.
        signature: Ed25519 over the same bytes; empty without a key.
        public_key: Raw public half of the key that signed; empty without one.
    """

    scheme: Literal["sha256-manifest", "ed25519"]
    manifest: Digest
    signature: HexText = ""
    public_key: HexText = ""

    def describe(self) -> str:
        """Say in a few words who vouches for the manifest."""
        if self.scheme == "sha256-manifest":
            return "sha256 manifest, not signed"
        fingerprint = sha256_bytes(bytes.fromhex(self.public_key))[:FINGERPRINT_DIGITS]
        return f"ed25519 by the key {fingerprint}"


def find_signing_key(sign: Literal["auto", "off"], environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of the key that ``govern.sign`` and ``LUTHIER_SIGNING_KEY`` ask for; None for none."""
    named = environment.get(KEY_VARIABLE, "").strip()
    return Path(named) if sign == "auto" and named else None


def sign_manifest(digests: Mapping[str, str], *, key: Path | None) -> Signature:
    """Hash a manifest, and sign it where there is a key.

    Args:
        digests: sha256 by path.
        key: PEM file of an Ed25519 private key; its path and content are never shown.

    Raises:
        MissingExtra: E-ENV-001 where there is a key but no ``cryptography``.
        EnvironmentLacks: E-GOV-005 for a key that cannot be used.
    """
    manifest = canonical_json(dict(digests))
    if key is None:
        return Signature(scheme="sha256-manifest", manifest=sha256_bytes(manifest))
    _require_extra()
    try:
        signature, public_key = ed25519.sign(manifest, key)
    except (OSError, ValueError) as error:
        raise _bad_key(f"the key that {KEY_VARIABLE} names", KEY_VARIABLE, error) from None
    return Signature(
        scheme="ed25519",
        manifest=sha256_bytes(manifest),
        signature=signature.hex(),
        public_key=public_key.hex(),
    )


def verify_manifest(digests: Mapping[str, str], signature: Signature, *, public_key: Path | None) -> str:
    """Check that a manifest is the one that was signed, and by whom where that is asked.

    Args:
        digests: sha256 by path, as the files lie now.
        signature: What was kept beside them.
        public_key: PEM file of the key that must have signed; None takes the signature's own, which anybody could
            have put there.

    Returns:
        Who vouches for the manifest, in words.

    Raises:
        PolicyDenied: E-GOV-006 where manifest, signature or key do not fit each other.
        MissingExtra: E-ENV-001 where a signature must be checked without ``cryptography``.
        EnvironmentLacks: E-GOV-005 for a public key that cannot be used.
    """
    manifest = canonical_json(dict(digests))
    found = sha256_bytes(manifest)
    if found != signature.manifest:
        raise _deny("the files are not those of the manifest", got=found, allowed=signature.manifest)
    if public_key is None and signature.scheme == "sha256-manifest":
        return signature.describe()
    _require_extra()
    own = bytes.fromhex(signature.public_key)
    wanted = own if public_key is None else _read_public_key(public_key)
    if signature.scheme != "ed25519":
        raise _deny("the manifest is not signed", got=signature.scheme, allowed="ed25519 by the given key")
    if not ed25519.verify(manifest, bytes.fromhex(signature.signature), wanted):
        whose = "its own" if public_key is None else "the given"
        raise _deny(f"the signature was not made by {whose} key", got=signature.describe(), allowed=wanted.hex())
    return f"{signature.describe()}{', which nobody vouched for' if public_key is None else ', as given'}"


def _read_public_key(path: Path) -> bytes:
    try:
        return ed25519.read_public_key(path)
    except (OSError, ValueError) as error:
        raise _bad_key("the public key", str(path), error) from error


def _require_extra() -> None:
    if ed25519 is None:
        raise MissingExtra(
            "E-ENV-001",
            "signatures need the package cryptography, which is not installed",
            got="no package cryptography",
            allowed=f"the extra `sign`, or no {KEY_VARIABLE}",
            fix="pip install 'luthier[sign]'",
        )


def _bad_key(what: str, origin: str, error: Exception) -> EnvironmentLacks:
    return EnvironmentLacks(
        "E-GOV-005",
        f"{what} cannot be used",
        got=error.strerror or type(error).__name__ if isinstance(error, OSError) else "no Ed25519 key in a PEM file",
        origin=origin,
        allowed="a PEM file of an Ed25519 key without a password",
        fix="openssl genpkey -algorithm ed25519 -out key.pem",
    )


def _deny(what: str, *, got: str, allowed: str) -> PolicyDenied:
    return PolicyDenied(
        "E-GOV-006",
        f"{what}; nothing vouches for these files",
        got=got,
        origin="witness.json",
        allowed=allowed,
        fix="make the release again with `luthier run RECIPE`, or get it from whoever signed it",
    )
