"""What every page of ours is put together from: a whole page, a section, a table. Cells and bodies are HTML already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from luthier.stages.evaluate.page_style import STYLE


def write_page(title: str, body: str, *, style: str = "") -> str:
    """Write a page that needs nothing else: no script, no font, no picture from anywhere.

    Args:
        title: Of the window.
        body: HTML.
        style: Rules beside those that all pages share.
    """
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>{body}</body></html>\n"
    )


def write_section(title: str, body: str) -> str:
    """Write a section with its heading; nothing where there is nothing in it."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Write a table; columns of ``numbers`` are set to the right."""
    marks = [" class='number'" if column in numbers else "" for column in range(len(head))]
    top = "".join(f"<th{mark}>{escape(title)}</th>" for mark, title in zip(marks, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<div class='scroll'><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
