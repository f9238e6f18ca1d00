"""Models of the hub come whole, safe and verified, or not at all, whatever the hub and the network do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download

from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from luthier.foundation.core.errors import EnvironmentLacks, LuthierError, ModelError
from luthier.foundation.core.progress import SilentProgress
from luthier.instruments.remote.clients.hub import Hub, open_hub
from luthier.stages.model import hub_source
from luthier.stages.model.cache import list_cached, open_cached, read_origin
from luthier.stages.model.gguf_convert import convert_gguf
from luthier.stages.model.pull import pull
from luthier.stages.model.stage import locate_base
from tests.fixtures.hub_stub import COMMIT, HubStub, Repository, run_hub
from tests.fixtures.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.fault

TOKEN = "hf_not-a-real-one"  # noqa: S105
WANTED = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
CUT = 40_000


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a tiny model."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_gguf(folder / "tiny.gguf")
    plain = folder / "plain"
    plain.mkdir()
    convert_gguf(folder / "tiny.gguf", plain)
    return {path.name: path.read_bytes() for path in plain.iterdir()}


@pytest.fixture
def hub(model_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """A hub with one good model beside what nobody should fetch; attempts follow each other at once."""
    extra = {"README.md": b"---\nlicense: apache-2.0\n---\n", "modeling.py": b"raise SystemExit", "optimizer.pt": b"x"}
    files = {**model_files, **extra, "onnx/model.onnx": b"x", "../evil.json": b"{}"}
    with run_hub({"acme/tiny": Repository(files)}) as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

        def open_quickly(environment: Mapping[str, str]) -> Hub:
            open_hub(environment)
            token = environment.get("HF_TOKEN", "")
            return Hub(
                environment["HF_ENDPOINT"], token=token, timeout_seconds=stub.patience_seconds, pause=lambda _: None
            )

        monkeypatch.setattr(hub_source, "open_hub", open_quickly)
        yield stub


def bring(cache: Path, name: str = "acme/tiny") -> Path:
    return pull(name, cache=cache, progress=SilentProgress())


def refuse(cache: Path, name: str = "acme/tiny") -> LuthierError:
    with pytest.raises(LuthierError) as caught:
        bring(cache, name)
    problem = caught.value.problems[0]
    assert problem.got
    assert problem.fix
    assert list_cached(cache) == []
    return caught.value


def test_a_model_comes_whole_with_its_commit_and_without_what_could_run(hub: HubStub, tmp_path: Path) -> None:
    folder = bring(tmp_path)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files["model.safetensors"] == hub.repositories["acme/tiny"].files["model.safetensors"]
    assert set(files) == {*WANTED, "chat_template.jinja", "README.md", "origin.json", "manifest.json"}
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.repository, origin.revision, origin.commit) == ("acme/tiny", "main", COMMIT)
    assert (origin.licence, origin.kind) == ("apache-2.0", "base")
    asked = len(hub.asked)
    assert bring(tmp_path) == folder == open_cached("acme/tiny", cache=tmp_path)
    assert len(hub.asked) == asked, "what is here is verified without asking anybody"
    assert not any(one.path.endswith((".py", ".pt", ".onnx", "evil.json")) for one in hub.asked)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme--tiny.lock", folder.name]


def test_the_stub_is_a_hub_to_huggingface_hub_and_both_bring_the_same_bytes(hub: HubStub, tmp_path: Path) -> None:
    folder = bring(tmp_path / "ours")
    info = HfApi(endpoint=hub.url, token=False).model_info("acme/tiny", files_metadata=True)
    assert info.sha == COMMIT
    for name in WANTED:
        theirs = hf_hub_download("acme/tiny", name, endpoint=hub.url, local_dir=tmp_path / "theirs", token=False)
        assert Path(theirs).read_bytes() == (folder / name).read_bytes()


def test_a_base_is_found_by_its_id_and_a_run_never_pulls(hub: HubStub, tmp_path: Path) -> None:
    environment = {"LUTHIER_CACHE": str(tmp_path)}
    with pytest.raises(EnvironmentLacks) as caught:
        locate_base("acme/tiny", base_folder=tmp_path, environment=environment)
    problem = caught.value.problems[0]
    assert (problem.code, problem.fix, hub.asked) == ("E-ENV-005", "luthier model pull acme/tiny", [])
    folder = bring(tmp_path / "models")
    assert locate_base("acme/tiny", base_folder=tmp_path, environment=environment) == folder


def test_a_commit_in_the_name_is_a_model_of_its_own(hub: HubStub, tmp_path: Path) -> None:
    named, branch = bring(tmp_path, f"acme/tiny@{COMMIT}"), bring(tmp_path)
    assert named != branch
    assert open_cached(f"acme/tiny@{COMMIT}", cache=tmp_path) == named
    assert bring(tmp_path, "acme/tiny@main") == branch
    with pytest.raises(ModelError) as caught:
        bring(tmp_path, "acme/tiny@v9")
    problem = caught.value.problems[0]
    assert (problem.code, problem.got) == ("E-MOD-004", "Invalid rev id: v9")


@pytest.mark.parametrize("name", ["acme/none", "no-such-base", "a/b/c", "acme/../tiny", "acme/ti--ny"])
def test_what_the_hub_does_not_have_is_refused_with_exit_2(hub: HubStub, tmp_path: Path, name: str) -> None:
    error = refuse(tmp_path, name)
    assert (error.code, error.exit_code) == ("E-MOD-004", 2)


def test_a_gated_model_wants_a_token_that_is_shown_to_nobody_else(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["acme/tiny"].token = TOKEN
    error = refuse(tmp_path)
    assert (error.code, error.exit_code) == ("E-ENV-007", 4)
    assert error.problems[0].got == "Access to model acme/tiny is restricted."
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with run_hub({"acme/tiny": Repository(hub.repositories["acme/tiny"].files)}) as elsewhere:
        hub.wrong.redirect_to = elsewhere.url
        progress = SilentProgress()
        folder = pull("acme/tiny", cache=tmp_path, progress=progress)
        assert elsewhere.asked
        assert {one.authorization for one in elsewhere.asked} == {""}, "a redirect never sees the token"
    assert {one.authorization for one in hub.list_asked(".safetensors")} == {f"Bearer {TOKEN}"}
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    assert TOKEN.encode() not in written
    assert TOKEN not in "".join(progress.said)


def test_a_cut_connection_goes_on_where_it_was_cut(hub: HubStub, tmp_path: Path) -> None:
    hub.wrong.cut_after, hub.wrong.num_cuts = CUT, 2
    folder = bring(tmp_path)
    assert [one.range for one in hub.list_asked(".safetensors")] == ["", f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert (folder / "model.safetensors").read_bytes() == hub.repositories["acme/tiny"].files["model.safetensors"]


def test_what_came_before_an_interrupt_is_not_fetched_again(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Hub._append

    def interrupted(self: Hub, url: str, target: Path, *rest: object) -> None:
        whole(self, url, target, *rest)
        if url.endswith("model.safetensors"):
            target.write_bytes(target.read_bytes()[:CUT])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Hub, "_append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bring(tmp_path)
    before = {one.path for one in hub.asked if "/resolve/" in one.path and not one.path.endswith(".safetensors")}
    hub.asked.clear()
    folder = bring(tmp_path)
    assert [one.range for one in hub.list_asked(".safetensors")] == [f"bytes={CUT}-"]
    assert not before & {one.path for one in hub.asked}, "files that were whole are kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme--tiny.lock", folder.name]


def test_a_server_without_ranges_begins_anew(hub: HubStub, tmp_path: Path) -> None:
    hub.wrong.cut_after, hub.wrong.num_cuts, hub.wrong.no_ranges = CUT, 1, True
    folder = bring(tmp_path)
    assert (folder / "model.safetensors").read_bytes() == hub.repositories["acme/tiny"].files["model.safetensors"]


def test_a_busy_hub_is_asked_again(hub: HubStub, tmp_path: Path) -> None:
    hub.wrong.busy = 3
    assert bring(tmp_path).is_dir()


@pytest.mark.parametrize(("wrong", "patience_seconds"), [({"busy": 10**9}, 60.0), ({"stall_seconds": 1.0}, 0.1)])
def test_a_hub_that_never_answers_is_one_sentence_with_exit_4(
    hub: HubStub, tmp_path: Path, wrong: dict[str, float], patience_seconds: float
) -> None:
    hub.patience_seconds = patience_seconds
    for name, value in wrong.items():
        setattr(hub.wrong, name, value)
    error = refuse(tmp_path)
    assert (error.code, error.exit_code) == ("E-ENV-004", 4)
    assert hub.url in error.problems[0].origin


def test_nobody_at_the_address_and_offline_are_said_apart(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refuse(tmp_path).problems[0].fix == "unset HF_HUB_OFFLINE"
    assert hub.asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "HF_ENDPOINT" in refuse(tmp_path).problems[0].fix


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_byte_that_differs_from_what_the_hub_states_is_found(hub: HubStub, tmp_path: Path, name: str) -> None:
    hub.wrong.changed = name
    error = refuse(tmp_path)
    assert (error.code, error.exit_code) == ("E-MOD-006", 2)
    assert name in error.problems[0].what
    assert [path.name for path in tmp_path.iterdir()] == ["acme--tiny.lock"], "nothing of it is kept"


def spoil(files: dict[str, bytes], case: str) -> dict[str, bytes]:
    files = dict(files)
    if case == "pickles only":
        files["pytorch_model.bin"] = files.pop("model.safetensors")
    elif case == "an adapter":
        files = {"adapter_config.json": b"{}", "adapter_model.safetensors": files["model.safetensors"]}
    elif case == "no configuration":
        del files["config.json"]
    elif case == "remote code":
        files["config.json"] = json.dumps(
            {**json.loads(files["config.json"]), "auto_map": {"AutoModel": "m.X"}}
        ).encode()
    else:
        files["model.safetensors"] = files["model.safetensors"][:-4]
    return files


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("pickles only", "E-MOD-001"),
        ("an adapter", "E-MOD-002"),
        ("no configuration", "E-MOD-002"),
        ("remote code", "E-MOD-001"),
        ("truncated weights", "E-MOD-002"),
    ],
)
def test_a_repository_that_is_unsafe_or_no_model_leaves_nothing(
    hub: HubStub, model_files: dict[str, bytes], tmp_path: Path, case: str, code: str
) -> None:
    hub.repositories["acme/tiny"].files = spoil(model_files, case)
    error = refuse(tmp_path)
    assert (error.code, error.exit_code) == (code, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["acme--tiny.lock"]


def test_two_pulls_at_once_fetch_once(hub: HubStub, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: bring(tmp_path), range(2))
    assert first == second
    assert len(hub.list_asked(".safetensors")) == 1


def test_the_command_says_where_it_is_and_the_list_knows_it(
    hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    assert run_guarded(luthier, ["model", "pull", "acme/tiny", "--json"]) == 0
    pulled = json.loads(capsys.readouterr().out)
    assert run_guarded(luthier, ["model", "list", "--json"]) == 0
    (found,) = [m for m in json.loads(capsys.readouterr().out)["models"] if m["name"] == "acme/tiny"]
    assert (found["path"], found["digest"], found["is_here"]) == (pulled["path"], pulled["digest"], True)
    assert (found["licence"], found["origin"]) == ("apache-2.0", f"hub acme/tiny at {COMMIT[:12]}")
    assert run_guarded(luthier, ["model", "check", "acme/tiny", "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["is_safe"], checked["may_be_used"], checked["licence"]["licence"]) == (True, True, "Apache-2.0")
