"""``make new`` in a copy of the repository: a plug-in of each family is red with what is to be written, then green."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.foundation.registry import TABLES
from luthier.testing.shapes import PROTOCOLS

ROOT = Path(__file__).parents[2]
NAME = "zz_new"
PARTS = ("src", "scripts", "docs", "adr", "tests", "Makefile", "pyproject.toml", "README.md", "CHANGELOG.md")
SCAFFOLD_ALL = f"""
from new_plugin import TABLES, scaffold
for family in TABLES:
    scaffold(family, {NAME!r})
"""
METRIC = '''\
"""``zz_new``: options and what it does."""

from __future__ import annotations

from typing import Any, Final

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.metric import Item, MeanMetric


class Config(MetricConfig):
    """Share of answers that have as many letters as the reference and end alike."""


class ZzNew(MeanMetric):
    """See ``Config``."""

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401  family's protocol
        """Return 1 where length and last letter agree."""
        given, due = item.answer.strip(), item.reference.text.strip()
        return float((len(given), given[-1:]) == (len(due), due[-1:]))


PLUGIN: Final = ZzNew()
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    skip = shutil.ignore_patterns("__pycache__", ".*_cache", "zz_new*")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=skip)
        else:
            shutil.copy(source, folder / part)
    done = call(folder, "-c", SCAFFOLD_ALL)
    assert done.returncode == 0, done.stderr
    return folder


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": f"{folder / 'src'}:{folder / 'scripts'}",
    }
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def run_tests(folder: Path, chosen: str) -> subprocess.CompletedProcess[str]:
    paths = ["tests/unit/test_registry.py", "tests/docs/test_docs_complete.py", "tests/parity"]
    own = [str(path) for path in (folder / "tests" / "parity").glob(f"test_*_{NAME}.py")]
    return call(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-k", chosen, *paths[:2], *own)


def test_every_family_is_red_and_says_what_is_to_be_written(copy: Path):
    done = run_tests(copy, f"{NAME} or written")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    for family in TABLES:
        rows = [line for line in failed if f"[{family}-{NAME}]" in line]
        assert any("conforms_to_its_family" in line for line in rows), family
        assert any(f"test_{family}_{NAME}.py" in line for line in failed), family
    assert any("still_to_be_written" in line for line in failed), "the pages are not written"
    assert "Config's docstring still says 'To be written'" in done.stdout
    assert "with a value derived by hand" in done.stdout


def test_each_method_of_a_protocol_is_a_stub_that_conformance_names(copy: Path):
    program = (
        "from luthier.testing.conformance import find_faults\n"
        "from luthier.foundation.registry import TABLES\n"
        f"for family in TABLES: print(family, find_faults(family, {NAME!r}))"
    )
    done = call(copy, "-c", program)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert all("not written yet" in told[family] for family in PROTOCOLS)
    assert "PLUGIN lacks the attribute higher_is_better" in told["metrics"]
    assert all("cannot be loaded" not in text for text in told.values()), "the stubs import"


def test_what_is_written_is_neat(copy: Path):
    new = [str(path) for path in copy.rglob("*.py") if NAME in str(path.relative_to(copy))]
    tables = ["src/luthier/foundation/registry.py", "src/luthier/foundation/recipe/planned_table.py"]
    for words in (
        ("format", "--check"),
        ("check", "--ignore", "ANN401,RUF100"),
    ):  # ruff splits long signatures off their noqa
        done = call(copy, "-m", "ruff", *words, *new, *tables)
        assert done.returncode == 0, done.stdout


def test_written_honestly_it_is_green(copy: Path):
    (copy / "src/luthier/instruments/measure/metrics" / f"{NAME}.py").write_text(METRIC)
    page = copy / "docs" / "metrics" / f"{NAME}.md"
    page.write_text(page.read_text().replace("To be written", "Ends alike"))
    test = copy / "tests" / "parity" / f"test_metrics_{NAME}.py"
    by_hand = "assert True  # stands for a value derived by hand"
    test.write_text(
        "\n".join(by_hand.join(["    ", ""]) if "fail(" in line else line for line in test.read_text().split("\n"))
    )
    done = run_tests(copy, f"{NAME} and metrics")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("metric", "x"), "no family 'metric'"),
        (("metrics", "Not-A-Word"), "no lower-case word"),
        (("metrics", ""), "no lower-case word"),
        (("metrics", NAME), "is taken"),
        (("metrics", "exact_match"), "is taken"),
        ((), "no family ''"),
    ],
)
def test_a_wrong_word_is_refused_and_nothing_changes(words: tuple[str, ...], told: str, copy: Path):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and path.suffix in {".py", ".md"}}
    done = call(copy, "scripts/new_plugin.py", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "usage: make new" in done.stderr
    assert all(path.read_bytes() == text for path, text in before.items())
