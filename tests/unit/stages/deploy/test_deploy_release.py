"""A sealed release: one digest for what it is, whenever it is made, and every byte of it verified."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from safetensors import SafetensorError

from luthier.foundation.core.errors import DeployError, PolicyDenied, RecipeError, StoreError
from luthier.foundation.core.hashing import sha256_file, sha256_json
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.sections import DeploySection
from luthier.stages.deploy import stage
from luthier.stages.deploy.verify import find_faults, verify
from tests.fixtures.faulty_disk import FaultyFileSystem
from tests.fixtures.release_parts import make_release_parts
from tests.fixtures.sealed_release import Sealed, make_context, seal_release, store_inputs
from tests.fixtures.tiny_models import build_tiny


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    return seal_release(tmp_path_factory.mktemp("sealed"))


def test_the_folder_holds_what_the_design_names_and_is_called_by_its_digest(sealed: Sealed) -> None:
    names = {path.name for path in sealed.folder.iterdir()}

    assert names == {
        *("adapter", "merged", "licences", "card.md", "plan.json", "report.json", "report.html", "reference.json"),
        *("certificate.json", "release.json", "witness.json", "signature.json", "manifest.json", "recipe.yaml"),
    }
    assert sealed.folder == sealed.workspace.folder / "releases" / sealed.release.digest
    assert "tiny" in (sealed.folder / "licences" / "NOTICE.md").read_text()
    assert "## Parity" in (sealed.folder / "card.md").read_text()


def test_the_digest_can_be_computed_by_hand_from_release_json(sealed: Sealed) -> None:
    """RFC 8785 by another writer over kind, schema version and identity; each file by sha256."""
    import hashlib

    import rfc8785

    shown = json.loads((sealed.folder / "release.json").read_bytes())
    hashed = {name: shown[name] for name in ("kind", "schema_version", "identity")}

    assert hashlib.sha256(rfc8785.dumps(hashed)).hexdigest() == sealed.release.digest == shown["digest"]
    for name, digest in shown["identity"]["files"].items():
        assert sha256_file(sealed.folder / name) == digest
    assert not {"witness.json", "report.html", "recipe.yaml", "signature.json"} & set(shown["identity"]["files"])


def test_another_day_place_and_author_give_the_same_digest_and_another_witness(sealed: Sealed, tmp_path: Path) -> None:
    again = seal_release(tmp_path / "elsewhere", day=28)

    assert again.release.digest == sealed.release.digest
    assert again.release.witness.created != sealed.release.witness.created
    assert again.release.witness.folder != sealed.release.witness.folder


def test_the_witness_keeps_times_differences_and_audit_head(sealed: Sealed) -> None:
    witness = json.loads((sealed.folder / "witness.json").read_bytes())

    assert witness["created"].startswith("2026-11-24T12:00")
    assert [step["step"] for step in witness["measured"]] == ["adapter", "merged", "server"]
    kept = {name: sha256_file(sealed.folder / name) for name in ("recipe.yaml", "report.html")}
    assert witness["files"] == kept
    own = sealed.workspace.folder / "runs" / "0123456789ab" / "recipe.yaml"
    assert (sealed.folder / "recipe.yaml").read_bytes() == own.read_bytes(), "so that retune goes on after a sweep"
    made = sealed.workspace.audit.entries(action="release.made")
    assert made[-1].facts["manifest"] == sha256_file(sealed.folder / "manifest.json")
    assert witness["audit_head"] == made[-1].prev
    assert sealed.release.witness.signature == "sha256 manifest, not signed"


def test_an_override_is_part_of_what_the_release_is(tmp_path: Path) -> None:
    override = Approval(record="e" * 64, by="Kim", reason="a trial", is_override=True, time="2026-11-24T10:00:00")
    later = override.model_copy(update={"time": "2026-11-27T10:00:00"})
    parts = make_release_parts(tmp_path / "parts")
    first = seal_release(tmp_path / "one", verdict="INCONCLUSIVE", approvals=(override,), parts=parts)
    second = seal_release(tmp_path / "two", verdict="INCONCLUSIVE", approvals=(later,), parts=parts, day=27)

    assert first.release.identity.override == "Kim: a trial"
    assert first.release.digest == second.release.digest, "when somebody said it is not what was released"
    assert "Kim overrode at 2026-11-27" in second.release.witness.approvals[0]
    assert "Kim" in (first.folder / "card.md").read_text()


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_changed_or_missing_file_and_every_added_one_is_named(sealed: Sealed) -> None:
    folder, digest = sealed.folder, sealed.release.digest
    assert find_faults(folder, digest) == []
    for name in list_files(folder):
        path = folder / name
        before = path.read_bytes()
        for spoil in (change, Path.unlink):
            spoil(path)
            faults = find_faults(folder, digest)
            assert faults, f"{spoil} of {name} is not found"
            assert faults[0].field == name
            assert faults[0].code == "E-DEP-008"
            path.write_bytes(before)
    for name in ("surprise.txt", "merged/pytorch_model.bin"):
        (folder / name).write_text("x")
        assert [fault.field for fault in find_faults(folder, digest)] == [name]
        (folder / name).unlink()
    assert find_faults(folder, digest) == []


def test_a_byte_appended_anywhere_is_found(sealed: Sealed) -> None:
    for name in list_files(sealed.folder):
        path = sealed.folder / name
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        assert find_faults(sealed.folder, sealed.release.digest)[0].field == name
        path.write_bytes(before)


def test_a_witness_rewritten_with_its_manifest_is_found_by_the_signature_and_then_by_the_audit_log(
    tmp_path: Path, sealed: Sealed
) -> None:
    """Who can write everything can also make the plain manifest fit again; the audit log knows the true one."""
    import shutil

    from luthier.instruments.govern.signing import sign_manifest
    from luthier.stages.deploy.layout import list_digests

    folder = tmp_path / "copy"
    shutil.copytree(sealed.folder, folder)
    recorded = sha256_file(folder / "manifest.json")
    (folder / "witness.json").write_text((folder / "witness.json").read_text().replace("2026-11-24", "2026-11-23"))
    fit_manifest(folder)
    with pytest.raises(PolicyDenied) as caught:
        verify(folder, sealed.release.digest)
    assert caught.value.code == "E-GOV-006"

    digests = {k: v for k, v in list_digests(folder).items() if k not in {"signature.json", "manifest.json"}}
    (folder / "signature.json").write_text(sign_manifest(digests, key=None).model_dump_json())
    fit_manifest(folder)
    with pytest.raises(PolicyDenied, match=r"manifest\.json") as caught:
        verify(folder, sealed.release.digest, manifest=recorded)
    assert caught.value.problems[0].field == "manifest.json"


def fit_manifest(folder: Path) -> None:
    entries = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(entries, indent=1, sort_keys=True))


def test_an_identity_that_was_rewritten_has_another_digest(sealed: Sealed, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(sealed.folder, folder)
    shown = json.loads((folder / "release.json").read_bytes())
    shown["identity"]["override"] = "nobody had to"
    hashed = {name: shown[name] for name in ("kind", "schema_version", "identity")}
    shown["digest"] = sha256_json(hashed)
    (folder / "release.json").write_text(json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    fit_manifest(folder)

    fault = find_faults(folder, sealed.release.digest)[0]
    assert fault.field == "release.json"
    assert sealed.release.digest in fault.allowed


def test_a_folder_that_is_gone_or_damaged_is_made_again_and_a_whole_one_is_reused(tmp_path: Path) -> None:
    made = seal_release(tmp_path, exports=("adapter",))
    inputs = store_inputs(made.parts, made.workspace)
    context = make_context(made.workspace, inputs, ())
    section = DeploySection()
    assert stage.refresh(made.release, section, context) == made.release

    change(made.folder / "adapter" / "adapter_model.safetensors")
    assert stage.refresh(made.release, section, context) is None
    assert "is made again" in context.progress.said[-1]

    again = seal_release(tmp_path, exports=("adapter",), parts=made.parts)
    assert again.release.digest == made.release.digest
    assert find_faults(again.folder, again.release.digest) == []
    assert len(list(made.folder.parent.glob("damaged-*"))) == 1, "what was damaged is kept aside"
    assert stage.refresh(again.release, section, context) == again.release


def test_another_key_with_the_same_outcome_keeps_the_release_that_lies_there(tmp_path: Path) -> None:
    made = seal_release(tmp_path, exports=("adapter",))
    inode = (made.folder / "card.md").stat().st_ino
    again = seal_release(tmp_path, exports=("adapter",), parts=made.parts, day=26)

    assert again.release.witness.created == made.release.witness.created
    assert (made.folder / "card.md").stat().st_ino == inode


def test_a_run_without_an_adapter_exports_the_merged_model_and_says_so(tmp_path: Path) -> None:
    parts = make_release_parts(tmp_path / "parts", method="full")
    made = seal_release(tmp_path / "ws", parts=parts)

    assert made.release.identity.exports == ("merged",)
    with pytest.raises(RecipeError, match="no export") as caught:
        seal_release(tmp_path / "other", exports=("adapter",), parts=parts)
    assert caught.value.code == "E-DEP-012"
    assert "merged" in caught.value.problems[0].fix


def test_a_base_whose_bytes_changed_since_training_stops_the_release_and_leaves_none(tmp_path: Path) -> None:
    parts = make_release_parts(tmp_path / "parts")
    build_tiny("llama", parts.trained.base_folder, seed=4, hidden_size=32, intermediate_size=48, num_hidden_layers=2)

    with pytest.raises(DeployError) as caught:
        seal_release(tmp_path / "ws", parts=parts)
    assert caught.value.code == "E-DEP-002"
    assert not (tmp_path / "ws" / ".luthier" / "releases").exists()


def test_a_broken_certificate_leaves_its_evidence_and_no_release(tmp_path: Path) -> None:
    from dataclasses import replace

    parts = make_release_parts(tmp_path / "parts")
    first = replace(parts.probes[0], logps_M=parts.probes[0].logps_M - 0.01)
    lying = replace(parts, probes=(first, *parts.probes[1:]))

    with pytest.raises(PolicyDenied, match="'adapter'") as caught:
        seal_release(tmp_path / "ws", parts=lying)
    assert caught.value.code == "E-DEP-001"
    evidence = json.loads(next((tmp_path / "ws" / ".luthier" / "work").glob("*/parity.json")).read_bytes())
    assert evidence["certificate"]["broken_step"] == "adapter"
    assert evidence["measured"][0]["max_delta"] == pytest.approx(0.01, rel=1e-3)
    assert not (tmp_path / "ws" / ".luthier" / "releases").exists()


def test_a_disk_that_fills_up_leaves_no_half_release_and_the_next_run_makes_it_whole(tmp_path: Path) -> None:
    parts = make_release_parts(tmp_path / "parts")
    counting = FaultyFileSystem()
    whole = seal_release(tmp_path / "whole", exports=("adapter",), parts=parts, fs=counting)
    root = tmp_path / "full"
    for fail_at in (1, counting.calls // 2, counting.calls - 1):
        with pytest.raises(StoreError) as caught:
            seal_release(root, exports=("adapter",), parts=parts, fs=FaultyFileSystem(fail_at))
        assert caught.value.code == "E-ENV-003"
        releases = root / ".luthier" / "releases"
        assert not releases.exists() or not [path for path in releases.iterdir() if len(path.name) == 64]

    assert seal_release(root, exports=("adapter",), parts=parts).release.digest == whole.release.digest


def test_a_full_disk_that_the_tensor_writer_reports_in_its_own_way_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_release_parts(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        parts.export("merged")
    assert caught.value.errno == errno.ENOSPC


def test_a_key_signs_the_release_and_another_key_does_not_pass_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    pem = serialization.Encoding.PEM
    public = {}
    for name in ("ours", "theirs"):
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(private)
        public[name] = tmp_path / f"{name}.pub"
        shown = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        public[name].write_bytes(shown)
    monkeypatch.setenv("LUTHIER_SIGNING_KEY", str(tmp_path / "ours.pem"))

    made = seal_release(tmp_path / "ws", exports=("adapter",))

    assert made.release.witness.signature.startswith("ed25519 by the key")
    assert "as given" in verify(made.folder, made.release.digest, public_key=public["ours"])
    with pytest.raises(PolicyDenied) as caught:
        verify(made.folder, made.release.digest, public_key=public["theirs"])
    assert caught.value.code == "E-GOV-006"
