"""The page says what the results say, and nothing else of it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.bench.docs import PAGE, SECTION, told, write
from headrace.bench.figures import Figure, Record
from headrace.bench.machine import Machine
from headrace.bench.measures import measures

ROOT = Path(__file__).resolve().parents[2]
TEXT = """# Speed
<!-- summary -->
old
<!-- end -->
before
<!-- speed -->
| stale |
<!-- end -->
between
<!-- lone -->
as it was
<!-- end -->
after
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page of two measurements, of which one has results."""
    figures = (Figure("rate", 0.5, "of bare", 0.8, at_least=True, note="2 of 4"), Figure("told", 7, "ms"))
    Record("speed", Machine("2026-01-02 03:04", "Acme 9", 2, "3.11", "1.31", "1.85", "2.4"), figures).write(tmp_path)
    (tmp_path / "docs").mkdir()
    file = tmp_path / "docs" / "page.md"
    file.write_text(TEXT)
    return file


def test_sections_are_filled_and_the_rest_stays(page: Path, tmp_path: Path) -> None:
    assert write(tmp_path, page) == ["lone"]
    text = page.read_text()
    assert "| rate | 0.5 of bare | **≥ 0.8** | 2 of 4 |\n| told | 7 ms |  |  |\n<!-- end -->" in text
    assert "2026-01-02 03:04 UTC; Acme 9, 2 cores" in text
    assert "0 of 1 bounds are reached. Not reached: rate (0.5, not ≥ 0.8)." in text
    assert "stale" not in text and "old\n" not in text
    assert "before\n" in text and "between\n<!-- lone -->\nas it was\n<!-- end -->\nafter" in text


def test_writing_again_changes_nothing(page: Path, tmp_path: Path) -> None:
    write(tmp_path, page)
    once = page.read_text()
    write(tmp_path, page)
    assert page.read_text() == once


def test_pictures_stand_beside_the_page(page: Path, tmp_path: Path) -> None:
    (tmp_path / "leak.png").write_bytes(b"a picture")
    write(tmp_path, page)
    pictures = page.parent / "pictures"
    assert sorted(file.name for file in pictures.iterdir()) == ["performance-leak.png", "performance.png"]
    assert (pictures / "performance.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_missing_is_told() -> None:
    assert told(Path("a.md"), []) == "a.md is written"
    assert told(Path("a.md"), ["lone", "gpu"]).endswith("nothing was measured of lone, gpu")


def test_the_page_has_a_section_for_every_measurement() -> None:
    assert measures(quick=False).keys() <= set(SECTION.findall((ROOT / PAGE).read_text()))
