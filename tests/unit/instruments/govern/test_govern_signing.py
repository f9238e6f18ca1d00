"""Signatures: what they find, what they do not claim, and that other people's tools agree."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import EnvironmentLacks, LuthierError, PolicyDenied
from luthier.foundation.core.hashing import sha256_bytes
from luthier.instruments.govern.signing import Signature, find_signing_key, sign_manifest, verify_manifest

DIGESTS = {"card.md": sha256_bytes(b"card"), "adapter/model.safetensors": sha256_bytes(b"weights")}
PATHS = st.dictionaries(
    st.text(min_size=1, max_size=12), st.binary(max_size=4).map(sha256_bytes), min_size=1, max_size=5
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two key pairs, a key with a password, a key of another kind, and a file that is no key."""
    folder = tmp_path_factory.mktemp("keys")
    plain = serialization.NoEncryption()
    locked = serialization.BestAvailableEncryption(b"secret")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    public_form = serialization.PublicFormat.SubjectPublicKeyInfo
    for name in ("one", "two"):
        key = Ed25519PrivateKey.generate()
        (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, form, plain))
        (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(pem, public_form))
    (folder / "locked.pem").write_bytes(Ed25519PrivateKey.generate().private_bytes(pem, form, locked))
    curve = ec.generate_private_key(ec.SECP256R1())
    (folder / "curve.pem").write_bytes(curve.private_bytes(pem, form, plain))
    (folder / "curve.pub").write_bytes(curve.public_key().public_bytes(pem, public_form))
    (folder / "text.pem").write_text("no key")
    return {path.name: path for path in folder.iterdir()} | {"absent.pem": folder / "absent.pem"}


def test_without_a_key_a_signature_is_the_sha256_of_the_canonical_manifest_and_says_that_it_is_none():
    signature = sign_manifest(DIGESTS, key=None)
    assert signature.manifest == hashlib.sha256(rfc8785.dumps(DIGESTS)).hexdigest()
    assert (signature.scheme, signature.signature, signature.public_key) == ("sha256-manifest", "", "")
    assert verify_manifest(dict(reversed(DIGESTS.items())), signature, public_key=None) == "sha256 manifest, not signed"


def test_a_signature_is_verified_by_its_own_key_and_by_the_given_one_and_tells_them_apart(keys: dict[str, Path]):
    signature = sign_manifest(DIGESTS, key=keys["one.pem"])
    assert verify_manifest(DIGESTS, signature, public_key=None).endswith("which nobody vouched for")
    assert verify_manifest(DIGESTS, signature, public_key=keys["one.pub"]).endswith("as given")
    with pytest.raises(PolicyDenied, match="the given key") as caught:
        verify_manifest(DIGESTS, signature, public_key=keys["two.pub"])
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == ("E-GOV-006", 3)
    assert problem.got
    assert problem.allowed
    assert problem.fix
    assert problem.origin


def test_whoever_strips_a_signature_or_signs_again_is_found_where_the_key_is_given(keys: dict[str, Path]):
    """The attack that an embedded key cannot see: change the files, then sign them with a key of one's own."""
    changed = DIGESTS | {"card.md": sha256_bytes(b"another card")}
    for key, told in ((None, "the manifest is not signed"), (keys["two.pem"], "was not made by the given key")):
        forged = sign_manifest(changed, key=key)
        assert verify_manifest(changed, forged, public_key=None)
        with pytest.raises(PolicyDenied, match=f"E-GOV-006.*{told}"):
            verify_manifest(changed, forged, public_key=keys["one.pub"])


@given(digests=PATHS, other=PATHS)
@settings(max_examples=60, deadline=None)
def test_a_signature_fits_its_own_manifest_and_no_other(keys: dict[str, Path], digests, other):
    for key in (None, keys["one.pem"]):
        signature = sign_manifest(digests, key=key)
        assert verify_manifest(digests, signature, public_key=None)
        if other != digests:
            with pytest.raises(PolicyDenied, match="E-GOV-006"):
                verify_manifest(other, signature, public_key=None)


@pytest.mark.parametrize("place", [0, 31, 63])
def test_one_flipped_bit_of_the_signature_is_found(keys: dict[str, Path], place: int):
    signature = sign_manifest(DIGESTS, key=keys["one.pem"])
    flipped = bytearray.fromhex(signature.signature)
    flipped[place] ^= 1
    with pytest.raises(PolicyDenied, match="its own key"):
        verify_manifest(DIGESTS, signature.model_copy(update={"signature": flipped.hex()}), public_key=None)
    short = signature.model_copy(update={"public_key": "00"})
    with pytest.raises(PolicyDenied, match="its own key"):
        verify_manifest(DIGESTS, short, public_key=None)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_verifies_the_same_signature(keys: dict[str, Path], tmp_path: Path):
    signature = sign_manifest(DIGESTS, key=keys["one.pem"])
    (tmp_path / "manifest.json").write_bytes(rfc8785.dumps(DIGESTS))
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature.signature))
    for name, code in (("one.pub", 0), ("two.pub", 1)):
        words = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(keys[name])]
        words += ["-in", "manifest.json", "-sigfile", "signature"]
        assert subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode == code


@pytest.mark.parametrize("name", ["locked.pem", "curve.pem", "text.pem", "absent.pem", "one.pub"])
def test_a_key_that_cannot_be_used_is_one_sentence_that_shows_neither_path_nor_content(keys, name: str):
    with pytest.raises(EnvironmentLacks) as caught:
        sign_manifest(DIGESTS, key=keys[name])
    problem = caught.value.problems[0]
    assert (problem.code, problem.origin, caught.value.exit_code) == ("E-GOV-005", "LUTHIER_SIGNING_KEY", 4)
    assert name not in str(caught.value)
    assert problem.got
    assert problem.allowed
    assert problem.fix.startswith("openssl genpkey")


@pytest.mark.parametrize("name", ["curve.pub", "text.pem", "absent.pem"])
def test_a_public_key_that_cannot_be_used_is_named(keys, name: str):
    with pytest.raises(EnvironmentLacks) as caught:
        verify_manifest(DIGESTS, sign_manifest(DIGESTS, key=keys["one.pem"]), public_key=keys[name])
    assert (caught.value.code, caught.value.problems[0].origin) == ("E-GOV-005", str(keys[name]))


def test_the_key_comes_from_the_environment_unless_the_recipe_says_off():
    assert find_signing_key("auto", {}) is None
    assert find_signing_key("auto", {"LUTHIER_SIGNING_KEY": " "}) is None
    assert find_signing_key("auto", {"LUTHIER_SIGNING_KEY": "/k.pem"}) == Path("/k.pem")
    assert find_signing_key("off", {"LUTHIER_SIGNING_KEY": "/k.pem"}) is None


def test_a_signature_of_another_form_is_refused():
    for change in ({"scheme": "rsa"}, {"manifest": "x"}, {"signature": "0g"}, {"surprise": 1}):
        with pytest.raises(ValueError, match="validation error"):
            Signature.model_validate(sign_manifest(DIGESTS, key=None).model_dump() | change)


WITHOUT = """
import sys
from pathlib import Path
sys.modules["cryptography"] = None
from luthier.foundation.core.errors import MissingExtra
from luthier.instruments.govern.signing import sign_manifest, verify_manifest
digests = {"a": "0" * 64}
plain = sign_manifest(digests, key=None)
assert verify_manifest(digests, plain, public_key=None) == "sha256 manifest, not signed"
signed = plain.model_copy(update={"scheme": "ed25519", "signature": "00", "public_key": "00"})
for act in (lambda: sign_manifest(digests, key=Path("k")), lambda: verify_manifest(digests, signed, public_key=None)):
    try:
        act()
    except MissingExtra as error:
        print(error.code, error.exit_code, error.problems[0].fix)
"""


def test_without_the_extra_a_manifest_is_still_hashed_and_a_key_is_one_sentence():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["E-ENV-001 4 pip install 'luthier[sign]'"] * 2
    assert issubclass(EnvironmentLacks, LuthierError)
