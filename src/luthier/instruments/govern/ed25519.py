"""Ed25519 by the package ``cryptography``; the one file that imports it. ``signing`` says what is signed."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def sign(data: bytes, key: Path) -> tuple[bytes, bytes]:
    """Sign bytes.

    Args:
        data: What is signed.
        key: PEM file of an Ed25519 private key without a password.

    Returns:
        Signature (64 bytes) and raw public key (32 bytes).

    Raises:
        ValueError: When the file holds no such key.
        OSError: When it cannot be read.
    """
    try:
        loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (TypeError, UnsupportedAlgorithm) as error:  # a password is needed; a key of another kind
        raise ValueError(type(error).__name__) from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise ValueError(type(loaded).__name__)  # noqa: TRY004  what is in the file, not what was passed
    return loaded.sign(data), loaded.public_key().public_bytes_raw()


def verify(data: bytes, signature: bytes, public_key: bytes) -> bool:
    """Say whether a signature over bytes was made with the private half of a raw public key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_public_key(path: Path) -> bytes:
    """Return the raw public key of a PEM file.

    Raises:
        ValueError: When the file holds none of Ed25519.
        OSError: When it cannot be read.
    """
    try:
        loaded = serialization.load_pem_public_key(path.read_bytes())
    except UnsupportedAlgorithm as error:
        raise ValueError(type(error).__name__) from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise ValueError(type(loaded).__name__)  # noqa: TRY004  what is in the file, not what was passed
    return loaded.public_bytes_raw()
