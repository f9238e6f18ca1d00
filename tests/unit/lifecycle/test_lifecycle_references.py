"""References: what a person may name, found without loading anything, or refused with what may be named."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from luthier.foundation.core.errors import EnvironmentLacks, LuthierError, ModelError, RecipeError, StoreError
from luthier.foundation.schema.model import ModelWitness
from luthier.lifecycle.addresses import parse_address
from luthier.lifecycle.references import lay_out, resolve_pair, resolve_reference
from tests.fixtures.example_records import make_examples
from tests.fixtures.fake_stages import Bench, open_quick_folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        bench = Bench(folder)
        (folder / "base").mkdir()
        bench.change("model", base=str(folder / "base"))
        yield bench


def locate(base: str) -> Path:
    """Know two bases, as a catalogue would."""
    if base.endswith(".gguf"):
        return Path("/cache") / Path(base).name
    if base not in {"smollm2-135m-instruct", "other"}:
        raise ModelError("E-MOD-004", "this base is neither in the catalogue nor a folder", fix="luthier model list")
    return Path("/cache") / base


def make_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": np.zeros(1, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def make_adapter(folder: Path, *, base: str = "other", digest: str = "a" * 64) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    metadata = {"format": "pt", "luthier_base_digest": digest}
    save_file({"w": np.zeros(1, dtype=np.float32)}, folder / "adapter_model.safetensors", metadata=metadata)
    return folder


def test_base_alone_is_the_default_one(bench: Bench) -> None:
    found = resolve_reference("base", workspace=bench.workspace, locate=locate)
    assert (found.kind, found.base, found.base_folder) == (
        "base",
        "smollm2-135m-instruct",
        Path("/cache/smollm2-135m-instruct"),
    )
    assert lay_out(found, bench.workspace) is None


def test_base_beside_another_reference_is_that_ones_base(bench: Bench) -> None:
    adapter = str(make_adapter(bench.root / "adapter"))
    for pair in (("base", adapter), (adapter, "base")):
        left, right = resolve_pair(*pair, workspace=bench.workspace, locate=locate)
        base = left if pair[0] == "base" else right
        assert (base.kind, base.base, base.base_digest, base.files) == ("base", "other", "a" * 64, {})
    left, right = resolve_pair("base", "base", workspace=bench.workspace, locate=locate)
    assert left == right


@pytest.mark.parametrize("num_digits", [12, 6])
def test_a_run_is_found_by_the_first_digits_of_its_id_and_names_base_and_files(bench: Bench, num_digits: int) -> None:
    result = bench.run("train")
    ref = f"run:{result.run_id[:num_digits]}"
    found = resolve_reference(ref, workspace=bench.workspace, locate=locate)
    assert (found.kind, found.method, found.record) == ("run", "lora", result.find("train").digest)
    assert found.base_folder == bench.root / "base"
    assert found.model == result.find("model").digest
    assert found.files["adapter_config.json"].read_bytes() == b"{}"


def test_a_runs_files_are_laid_out_by_name_once_and_made_anew_when_somebody_changed_them(bench: Bench) -> None:
    result = bench.run("train")
    found = resolve_reference(f"run:{result.run_id}", workspace=bench.workspace, locate=locate)
    folder = lay_out(found, bench.workspace)
    assert (folder / "adapter_model.safetensors").read_bytes() == b"onetwothree"
    (folder / "adapter_model.safetensors").write_bytes(b"changed")
    assert lay_out(found, bench.workspace) == folder
    assert (folder / "adapter_model.safetensors").read_bytes() == b"onetwothree"
    assert lay_out(found, bench.workspace) == folder


def test_a_run_whose_base_has_moved_is_looked_for_by_the_bases_name(bench: Bench) -> None:
    result = bench.run("train")
    (bench.root / "base").rmdir()
    found = resolve_reference(f"run:{result.run_id}", workspace=bench.workspace, locate=lambda name: Path("/at") / name)
    assert found.base_folder == Path("/at/fake")


def test_a_runs_damaged_file_is_refused(bench: Bench) -> None:
    result = bench.run("train")
    blob = result.find("train").record.identity.files["adapter_model.safetensors"]
    bench.workspace.blobs.locate(blob).write_bytes(b"damage")
    with pytest.raises(StoreError, match="E-STO-003"):
        resolve_reference(f"run:{result.run_id}", workspace=bench.workspace, locate=locate)


@pytest.mark.parametrize("ref", ["run:ffffffffffff", "run:ab", "run:", "run:xyz%", "nothing-of-that-name"])
def test_what_names_nothing_is_refused_with_what_may_be_named(bench: Bench, ref: str) -> None:
    bench.run("train")
    with pytest.raises(RecipeError) as caught:
        resolve_reference(ref, workspace=bench.workspace, locate=locate)
    problem = caught.value.problems[0]
    assert (problem.code, problem.got, problem.fix) == ("E-LIF-007", ref, "luthier runs")
    assert problem.allowed


def test_an_unfinished_run_is_no_reference(bench: Bench) -> None:
    bench.workspace.executions.start("b" * 64, "train")
    with pytest.raises(RecipeError, match="E-LIF-007"):
        resolve_reference("run:bbbbbbbbbbbb", workspace=bench.workspace, locate=locate)


def test_an_address_is_read_into_what_is_asked_and_what_for() -> None:
    found = parse_address("https://models.example:8443/v1/#org/name:tag@12")
    assert found is not None
    assert (found.url, found.model) == ("https://models.example:8443/v1", "org/name:tag@12")
    assert parse_address("http://[::1]:8000/v1#m") is not None
    assert [parse_address(ref) for ref in ("base", "run:ab", "ftp://host/v1#m", "./http")] == [None] * 4


@pytest.mark.parametrize(
    "ref",
    [
        *("http://h/v1", "http://h/v1#", "http:///v1#m", "https://#m", "http://h:port/v1#m", "http://[::1/v1#m"),
        *(
            "http://h/v1?key=1#m",
            "http://h/v1#a b",
            "http://h/v1#a\x00",
            "http://h\n/v1#m",
            "http://h/v1#" + "m" * 3000,
        ),
        *("http://me:secret@h/v1#m", "http://secret@h/v1#m"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_no_password_shown(ref: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_address(ref)
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == ("E-LIF-010", 2)
    assert "#MODEL" in problem.allowed
    assert problem.fix
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ref", ["http://localhost:8000/v1#m", "https://h/v1#m"])
def test_an_address_is_refused_where_files_are_needed(bench: Bench, ref: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve_reference(ref, workspace=bench.workspace, locate=locate)
    problem = caught.value.problems[0]
    assert (problem.code, problem.got, caught.value.exit_code) == ("E-LIF-011", ref, 2)
    assert "run:ID" in problem.allowed


@pytest.mark.parametrize("ref", ["release:desk", "release:desk@abc", "release:", "release:../desk"])
def test_a_release_that_is_not_there_is_refused_with_where_to_look(bench: Bench, ref: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve_reference(ref, workspace=bench.workspace, locate=locate)
    assert (caught.value.code, caught.value.exit_code) == ("E-DEP-007", 2)
    assert caught.value.problems[0].fix == "luthier release list"


def test_an_adapter_on_disk_finds_its_base_by_digest_where_the_workspace_knows_it(bench: Bench) -> None:
    """A base that was a local folder has a name that leads nowhere from another current folder."""
    base = make_model(bench.root / "far")
    example = make_examples()["model_choice"]
    known = example.model_copy(update={"witness": ModelWitness(path=str(base))})
    bench.workspace.records.put(known, stage="model", cache_key="k" * 64)
    adapter = make_adapter(bench.root / "adapter", digest=example.identity.weights)

    found = resolve_reference(str(adapter), workspace=bench.workspace, locate=locate)

    assert found.base_folder == base


def test_a_path_is_a_model_an_adapter_or_a_gguf_file_by_what_lies_in_it(bench: Bench) -> None:
    gguf = bench.root / "m.gguf"
    gguf.write_bytes(b"GGUF")
    model = make_model(bench.root / "model")
    adapter = make_adapter(bench.root / "adapter")
    kinds = {}
    for path in (gguf, model, adapter):
        found = resolve_reference(str(path), workspace=bench.workspace, locate=locate)
        kinds[path.name] = (found.kind, found.base_folder, found.base_digest, lay_out(found, bench.workspace))
    assert kinds == {
        "m.gguf": ("gguf", Path("/cache/m.gguf"), None, None),
        "model": ("model", model, None, None),
        "adapter": ("adapter", Path("/cache/other"), "a" * 64, adapter),
    }
    assert resolve_reference("other", workspace=bench.workspace, locate=locate).base_folder == Path("/cache/other")


def _pickle(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def _no_weights(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def _no_base(folder: Path) -> None:
    folder.rmdir()
    make_adapter(folder, base="")


def _bad_config(folder: Path) -> None:
    folder.rmdir()
    (make_adapter(folder) / "adapter_config.json").write_text("{")


def _cut(folder: Path) -> None:
    folder.rmdir()
    weights = make_adapter(folder) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])


def _bad_header(folder: Path) -> None:
    folder.rmdir()
    weights = make_adapter(folder) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"{", b"[", 1))


@pytest.mark.parametrize(
    ("fill", "got"),
    [
        (lambda _: None, "no config.json"),
        (lambda folder: folder.rmdir(), "no such folder"),
        (_pickle, "pickles such as pytorch_model.bin"),
        (_no_weights, "without adapter_model.safetensors"),
        (_no_base, "does not name its base"),
        (_bad_config, "not JSON"),
        (_cut, "cut short"),
        (_bad_header, "damaged header"),
    ],
)
def test_a_path_that_holds_no_usable_model_is_refused_with_the_reason(bench: Bench, fill, got: str) -> None:
    folder = bench.root / "bad"
    folder.mkdir()
    fill(folder)
    with pytest.raises(ModelError) as caught:
        resolve_reference(str(folder), workspace=bench.workspace, locate=locate)
    problem = caught.value.problems[0]
    assert problem.code == "E-LIF-008"
    assert got in problem.got
    assert problem.origin == str(folder)
    assert problem.fix


def test_a_base_that_is_not_there_says_so_itself(bench: Bench) -> None:
    def absent(base: str) -> Path:
        raise EnvironmentLacks("E-ENV-005", f"the base {base} has not been pulled yet", fix="luthier model pull")

    with pytest.raises(LuthierError, match="E-ENV-005"):
        resolve_reference("base", workspace=bench.workspace, locate=absent)
