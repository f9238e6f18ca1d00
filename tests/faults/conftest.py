"""A desk whose good recipe ran once, copied for each test that brings bad input to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fixtures.bad_input import Desk, make_desk


@pytest.fixture(scope="session")
def good_desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Run the good recipe once for all tests."""
    return make_desk(tmp_path_factory.mktemp("good_desk"))


@pytest.fixture
def desk(good_desk: Desk, tmp_path: Path) -> Desk:
    """Copy it, so that each test may do its worst."""
    return Desk(Path(shutil.copytree(good_desk.folder, tmp_path / "desk")))
