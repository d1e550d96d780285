"""The page of generation and of ticks."""

from __future__ import annotations

from pathlib import Path

from headrace.bench import decoders
from headrace.bench.attention.measure import PICTURE, POINTS
from headrace.bench.attention.page import PAGE, write
from headrace.bench.attention.report import text
from headrace.bench.docs import table
from headrace.bench.figures import Figure, Record

from .test_report import MACHINE, found

ROOT = Path(__file__).resolve().parents[3]
TICKS = Record("decoders", MACHINE, (Figure("a tick", 1.1, "x its parts", 1.25),))


def test_the_tables_are_put_between_their_marks_once(tmp_path: Path) -> None:
    found().write(tmp_path / POINTS)
    TICKS.write(tmp_path)
    for name in (PICTURE, decoders.PICTURE):
        (tmp_path / name).write_bytes(name.encode())
    page = tmp_path / "docs" / "attention.md"
    page.parent.mkdir()
    page.write_text("one\n<!-- generation -->\n<!-- end -->\ntwo\n<!-- ticks -->\nold\n<!-- end -->\nthree\n")
    filled = {"generation": text(found()), "ticks": table(TICKS)}
    for _ in range(2):
        write(tmp_path, page)
    bodies = [f"<!-- {name} -->\n\n{body}\n<!-- end -->" for name, body in filled.items()]
    assert page.read_text() == f"one\n{bodies[0]}\ntwo\n{bodies[1]}\nthree\n"
    assert (page.parent / "pictures" / decoders.PICTURE).read_text() == decoders.PICTURE


def test_our_page_has_its_marks() -> None:
    written = (ROOT / PAGE).read_text()
    assert all(written.count(f"<!-- {name} -->") == 1 for name in ("generation", "ticks"))
    assert all(f"(pictures/{name})" in written for name in (PICTURE, decoders.PICTURE))
