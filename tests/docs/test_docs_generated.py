"""Generated pages are current, and codes, table and headings say the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any, get_args

import pytest

from luthier.foundation.core.codes import BLOCKS, ErrorCode
from luthier.foundation.core.codes_table import EXPLANATIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "docs" / "generate.py"))["PAGES"]


@pytest.mark.parametrize("name", ["errors.md", "cli.md", "plugins.md", "recipe.md"])
def test_a_generated_page_is_current(name: str, pages: dict[str, Any]) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages[name](), "run `make docs`"


def test_codes_table_and_headings_agree_both_ways() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (E-[A-Z]{3}-\d{3})$", text, re.M)

    assert sorted(headings) == sorted(get_args(ErrorCode)) == sorted(EXPLANATIONS)
    assert len(set(headings)) == len(headings)


@pytest.mark.parametrize("code", get_args(ErrorCode))
def test_a_code_belongs_to_a_block_and_its_page_says_all_three_things(code: str) -> None:
    page = EXPLANATIONS[code]  # type: ignore[index]

    assert re.fullmatch(rf"E-({'|'.join(BLOCKS)})-\d{{3}}", code)
    assert page.title
    assert not page.title.endswith(".")
    assert page.why.endswith((".", "!"))
    assert page.fix
