"""Set-up: which torch is chosen, what is said when the machine lacks something, and that an interruption starts clean.

Pip, Python and nvidia-smi are made up here: small scripts in a folder that comes first on PATH, or functions.
"""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SETUP = ROOT / "scripts" / "setup"


def load(name: str) -> types.ModuleType:
    """Load a script of the folder as a module of its own; scripts are no package."""
    module = types.ModuleType(name)
    module.__file__ = str(SETUP / f"{name}.py")
    sys.modules[name] = module
    exec(compile((SETUP / f"{name}.py").read_text(encoding="utf-8"), module.__file__, "exec"), module.__dict__)  # noqa: S102
    return module


torch_build = load("torch_build")
environment = load("environment")


@pytest.mark.parametrize("name", ["environment.py", "torch_build.py"])
def test_an_old_python_can_read_the_scripts_far_enough_to_say_that_it_is_too_old(name: str) -> None:
    tree = ast.parse((SETUP / name).read_text(encoding="utf-8"), feature_version=(3, 6))

    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= {"json", "os", "re", "shutil", "subprocess", "sys", "urllib.request", "torch_build"}


# Which torch.

CUDA_NEEDS = [
    "filelock",
    'cuda-toolkit[cudart]==13.0.3; platform_system == "Linux"',
    'nvidia-nccl-cu13==2.29.7; platform_system == "Linux"',
]
CPU_NEEDS = ["filelock", "sympy>=1.13.3", 'pyyaml; extra == "pyyaml"']


def report(version: str, needs: list[str], url: str = "file:///nowhere/torch.whl") -> dict[str, Any]:
    """Make one entry of a pip report, in the form that pip 23 and later write."""
    return {"download_info": {"url": url}, "metadata": {"name": "torch", "version": version, "requires_dist": needs}}


@pytest.mark.parametrize(
    ("version", "needs", "platform", "expected"),
    [
        ("2.13.0+cpu", CPU_NEEDS, "linux", True),
        ("2.13.0", CPU_NEEDS, "linux", True),
        ("2.13.0", CUDA_NEEDS, "linux", False),
        ("2.13.0+cu130", CUDA_NEEDS, "linux", False),
        ("2.13.0", CUDA_NEEDS, "darwin", True),
        ("2.13.0", ['nvidia-ml-py; extra == "nvml"'], "linux", True),
    ],
)
def test_a_cpu_build_is_told_by_its_metadata(version: str, needs: list[str], platform: str, expected: bool) -> None:
    assert torch_build.is_cpu_build(report(version, needs), platform) is expected


class Index:
    """A made-up pip that finds what it is told to find and remembers what it was asked."""

    def __init__(self, found: dict[str, dict[str, Any]]) -> None:
        self.found = found
        self.asked: list[str] = []

    def __call__(self, arguments: list[str]) -> tuple[int, str, str]:
        self.asked.append(arguments[-1])
        item = self.found.get(arguments[-1])
        return (0, json.dumps({"install": [item]}), "") if item else (1, "", "ERROR: No matching distribution found")


def test_without_a_gpu_the_cpu_build_is_taken_and_its_size_is_that_of_the_file(tmp_path: Path) -> None:
    wheel = tmp_path / "torch.whl"
    wheel.write_bytes(b"x" * 1234)
    index = Index({"torch==2.13.0": report("2.13.0+cpu", CPU_NEEDS, wheel.as_uri())})

    build = torch_build.choose_build(index, gpu=False)

    assert build.requirement == "torch==2.13.0"
    assert build.is_cpu
    assert build.download_bytes == 1234
    assert index.asked == ["torch==2.13.0"]


def test_with_a_gpu_a_cpu_build_that_lies_about_does_not_win() -> None:
    index = Index({"torch==2.13.0": report("2.13.0+cpu", CPU_NEEDS), "torch===2.13.0": report("2.13.0", CUDA_NEEDS)})

    build = torch_build.choose_build(index, gpu=True)

    assert build.requirement == "torch===2.13.0"
    assert not build.is_cpu
    assert build.disk_bytes > torch_build.CPU_DISK_BYTES


def test_with_a_gpu_and_nothing_but_a_cpu_build_the_cpu_build_is_taken() -> None:
    index = Index({"torch==2.13.0": report("2.13.0+cpu", CPU_NEEDS)})

    assert torch_build.choose_build(index, gpu=True).is_cpu
    assert index.asked == ["torch===2.13.0", "torch==2.13.0"]


def test_where_no_cpu_build_is_found_the_large_download_is_said_beforehand() -> None:
    build = torch_build.choose_build(Index({"torch==2.13.0": report("2.13.0", CUDA_NEEDS)}), gpu=False)

    assert torch_build.describe(build, gpu=False) == (
        "torch 2.13.0: the platform's own build with CUDA (pip finds no CPU build), about 2.74 GB to download"
    )


def test_where_no_torch_is_found_there_is_no_build() -> None:
    assert torch_build.choose_build(Index({}), gpu=False) is None


def test_the_real_pip_answers_in_the_form_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip itself, without an index, and a wheel made here that says what a CPU build of torch says."""
    files = {
        "torchlike/__init__.py": "",
        "torchlike-2.13.0+cpu.dist-info/METADATA": "Metadata-Version: 2.1\nName: torchlike\nVersion: 2.13.0+cpu\n",
        "torchlike-2.13.0+cpu.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "torchlike-2.13.0+cpu.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(tmp_path / "torchlike-2.13.0+cpu-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    def run_pip(arguments: list[str]) -> tuple[int, str, str]:
        done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    item = torch_build.ask_pip(run_pip, "torchlike==2.13.0")

    assert torch_build.is_cpu_build(item, "linux")
    assert torch_build.download_bytes(item["download_info"]["url"]) > 0
    assert torch_build.ask_pip(run_pip, "torchlike===2.13.0") is None


def make_command(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_gpu_is_seen_by_its_driver_or_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = str(tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not torch_build.has_nvidia_gpu(nowhere)

    make_command(tmp_path, "nvidia-smi", "echo 'GPU 0: made up'")
    assert torch_build.has_nvidia_gpu(nowhere)

    make_command(tmp_path, "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert not torch_build.has_nvidia_gpu(nowhere)
    assert torch_build.has_nvidia_gpu(str(SETUP))


# Which Python.


def find_python(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SETUP / "find_python.sh")],
        env={"PATH": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def make_python(folder: Path, name: str, version: str, *, has_venv: bool = True) -> None:
    make_command(folder, name, f'case "$2" in *ensurepip*) exit {0 if has_venv else 1};; *) echo {version};; esac')


def is_one_sentence(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith("\n") and text.startswith("luthier set-up: ")


def test_a_newer_python_is_found_where_python3_is_old(tmp_path: Path) -> None:
    make_python(tmp_path, "python3", "3.9")
    make_python(tmp_path, "python3.12", "3.12")

    done = find_python(tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "python3.12\n", "")


def test_a_version_manager_that_offers_a_python_it_does_not_have_is_passed_over(tmp_path: Path) -> None:
    make_command(tmp_path, "python3.11", "echo 'command not found' >&2; exit 127")
    make_python(tmp_path, "python3", "3.13")

    assert find_python(tmp_path).stdout == "python3\n"


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.10", "3.14"])
def test_an_old_or_untried_python_is_one_sentence_and_exit_4(tmp_path: Path, version: str) -> None:
    make_python(tmp_path, "python3", version)

    done = find_python(tmp_path)

    assert done.returncode == 4
    assert is_one_sentence(done.stderr)
    assert f"python3 is {version}" in done.stderr
    assert done.stdout == ""


def test_a_python_without_its_venv_module_is_one_sentence_that_names_the_package(tmp_path: Path) -> None:
    make_python(tmp_path, "python3.11", "3.11", has_venv=False)

    done = find_python(tmp_path)

    assert done.returncode == 4
    assert is_one_sentence(done.stderr)
    assert "python3.11-venv" in done.stderr


def test_no_python_at_all_is_one_sentence_and_exit_4(tmp_path: Path) -> None:
    done = find_python(tmp_path)

    assert done.returncode == 4
    assert is_one_sentence(done.stderr)


def test_a_python_that_is_named_is_the_only_one_tried(tmp_path: Path) -> None:
    make_python(tmp_path, "python3.11", "3.11")
    make_python(tmp_path, "mine", "3.12")

    assert find_python(tmp_path, PYTHON="mine").stdout == "mine\n"
    assert find_python(tmp_path, PYTHON="absent").returncode == 4


# The environment.

PIP_LINES = {
    "full disk": (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "the disk is full; free 2 GB",
    ),
    "no name": (
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(: Failed to establish a new "
        "connection: [Errno -3] Temporary failure in name resolution')': /simple/torch/\n"
        "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)\n"
        "ERROR: No matching distribution found for torch==2.13.0",
        "the Python index cannot be reached",
    ),
    "timeout": ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out: ReadTimeout", "cannot be reached"),
    "not on this index": (
        "ERROR: Could not find a version that satisfies the requirement trl==1.16.0 (from versions: 1.0.0)\n"
        "ERROR: No matching distribution found for trl==1.16.0",
        "has no trl==1.16.0",
    ),
    "something else": ("ERROR: Cannot install a and b\n", "pip failed (Cannot install a and b)"),
    "nothing": ("", "pip failed (it gave no reason)"),
}


@pytest.mark.parametrize("what", PIP_LINES)
def test_what_pip_says_in_many_lines_becomes_one_clause(what: str) -> None:
    output, clause = PIP_LINES[what]

    assert clause in environment.explain(output, 2 * 10**9)
    assert "\n" not in environment.explain(output, 2 * 10**9)


FAKE_PYTHON = """
case "$*" in
  *"-m pip"*) echo "$*" >> "$LOG_OF_CALLS"; {pip} ;;
  *importlib.metadata*) echo "{torch}" ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that makes `python -m venv` write an environment whose python and pip are made up."""
    monkeypatch.setenv("LOG_OF_CALLS", str(tmp_path / "calls"))
    monkeypatch.chdir(tmp_path)

    def prepare(pip: str = "exit 0", torch: str = "2.13.0", venv: str = "") -> Path:
        tools = tmp_path / "tools"
        tools.mkdir(exist_ok=True)
        make_command(tools, "inner", FAKE_PYTHON.format(pip=pip, torch=torch))
        make_command(tools, "python", venv or f'mkdir -p "$3/bin" && cp {tools}/inner "$3/bin/python"')
        monkeypatch.setattr(environment.sys, "executable", str(tools / "python"))
        return tmp_path / ".venv"

    return prepare


def run_main(monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[int, list[str]]:
    talk = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(environment.sys, "stderr", talk)
        status = environment.main([str(folder)])
    return status, talk.getvalue().splitlines()


def test_a_whole_set_up_writes_the_stamp_last(fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake()

    status, lines = run_main(monkeypatch, folder)

    assert status == 0
    assert lines[-1] == f"luthier set-up: ready in {folder}"
    assert (folder / ".ready").is_file()
    assert not (folder / ".unfinished").exists()
    calls = Path(os.environ["LOG_OF_CALLS"]).read_text(encoding="utf-8")
    assert "--constraint constraints.txt --editable .[test,dev]" in calls


@pytest.mark.parametrize(
    ("pip", "words"),
    [
        ("echo 'OSError: [Errno 28] No space left on device' >&2; exit 1", "the disk is full"),
        ("echo 'NewConnectionError: Network is unreachable' >&2; exit 1", "cannot be reached"),
    ],
)
def test_a_failing_pip_is_one_sentence_and_exit_4_and_no_stamp(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, pip: str, words: str
) -> None:
    folder = fake(pip=pip)

    status, lines = run_main(monkeypatch, folder)

    assert status == 4
    assert words in lines[-1]
    assert "setup.log" in lines[-1]
    assert (folder / "setup.log").read_text(encoding="utf-8").count("$ pip install") == 1
    assert not (folder / ".ready").exists()


def test_no_torch_to_be_found_is_one_sentence_and_exit_4(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake(pip="echo 'ERROR: No matching distribution found for torch==2.13.0' >&2; exit 1", torch="")

    status, lines = run_main(monkeypatch, folder)

    assert status == 4
    assert len(lines) == 1
    assert "has no torch==2.13.0" in lines[0]


def test_too_little_space_is_said_before_anything_is_made(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake()
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**9))

    status, lines = run_main(monkeypatch, folder)

    assert status == 4
    assert "2.0 GB of disk are needed" in lines[0]
    assert "1.0 GB are free" in lines[0]
    assert len(lines) == 1
    assert not folder.exists()


def test_a_missing_venv_module_is_one_sentence_and_exit_4(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake(venv="echo 'The virtual environment was not created: ensurepip is not available'; exit 1")

    status, lines = run_main(monkeypatch, folder)

    assert status == 4
    assert len(lines) == 1
    assert "venv module" in lines[0]


@pytest.mark.parametrize("version", [(3, 6, 9), (3, 10, 2), (3, 14, 0)])
def test_a_python_outside_the_range_is_one_sentence_and_exit_4(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]
) -> None:
    folder = fake()
    monkeypatch.setattr(environment.sys, "version_info", version)

    status, lines = run_main(monkeypatch, folder)

    assert status == 4
    assert len(lines) == 1
    assert f"this is {version[0]}.{version[1]}" in lines[0]
    assert not folder.exists()


def test_an_interrupted_set_up_starts_again_clean(fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake()
    monkeypatch.setattr(environment.Environment, "install", raise_interrupt)
    assert run_main(monkeypatch, folder)[0] == 130
    (folder / "half-installed").write_text("x", encoding="utf-8")
    assert (folder / ".unfinished").is_file()

    monkeypatch.undo()
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("LOG_OF_CALLS", str(folder.parent / "calls"))
    fake()
    status, lines = run_main(monkeypatch, folder)

    assert status == 0
    assert "starting again" in lines[0]
    assert not (folder / "half-installed").exists()


def test_an_interruption_while_starting_again_is_seen_as_one(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake()
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("half", encoding="utf-8")
    (folder / ".unfinished").write_text("x", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(environment.shutil, "rmtree", raise_interrupt)
        assert run_main(patch, folder)[0] == 130

    assert (folder / ".unfinished").is_file()
    assert run_main(monkeypatch, folder)[0] == 0


def raise_interrupt(*arguments: object, **settings: object) -> None:
    raise KeyboardInterrupt


def test_an_environment_that_somebody_made_by_hand_is_completed_and_not_removed(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake()
    subprocess.run([environment.sys.executable, "-m", "venv", str(folder)], check=True)
    (folder / "mine").write_text("x", encoding="utf-8")

    assert run_main(monkeypatch, folder)[0] == 0

    assert (folder / "mine").is_file()
    assert (folder / ".ready").is_file()


def test_a_torch_that_is_there_already_is_not_fetched_again(
    fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake(torch="2.13.0+cpu")

    run_main(monkeypatch, folder)

    assert "torch" not in Path(os.environ["LOG_OF_CALLS"]).read_text(encoding="utf-8")
