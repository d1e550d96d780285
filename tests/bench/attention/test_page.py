"""The page of generation."""

from __future__ import annotations

from pathlib import Path

from headrace.bench.attention.measure import PICTURE, POINTS
from headrace.bench.attention.page import PAGE, write
from headrace.bench.attention.report import text

from .test_report import found

ROOT = Path(__file__).resolve().parents[3]


def test_the_tables_are_put_between_the_marks_once(tmp_path: Path) -> None:
    found().write(tmp_path / POINTS)
    (tmp_path / PICTURE).write_bytes(b"picture")
    page = tmp_path / "docs" / "attention.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- generation -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        write(tmp_path, page)
    assert page.read_text() == f"before\n<!-- generation -->\n\n{text(found())}\n<!-- end -->\nafter\n"
    assert (page.parent / "pictures" / PICTURE).read_bytes() == b"picture"


def test_our_page_has_its_marks() -> None:
    written = (ROOT / PAGE).read_text()
    assert written.count("<!-- generation -->") == 1
    assert f"(pictures/{PICTURE})" in written
