"""`python -m bench.attention.page`: what was measured last into docs/attention.md, between its marks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .. import decoders
from ..docs import table
from ..figures import Record
from .found import Found
from .measure import PICTURE, POINTS
from .report import text

RESULTS, PAGE = Path("bench/results"), Path("docs/attention.md")


def write(results: Path, page: Path) -> None:
    """Raises FileNotFoundError if one of both was not measured yet."""
    generation = text(Found.read(results / POINTS))
    ticks = table(Record.read(results / "decoders.json"))
    page.write_text(_filled(_filled(page.read_text(), "generation", generation), "ticks", ticks))
    (page.parent / "pictures").mkdir(exist_ok=True)
    for name in (PICTURE, decoders.PICTURE):
        shutil.copy(results / name, page.parent / "pictures")


def _filled(page: str, name: str, body: str) -> str:
    section = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    return section.sub(lambda _: f"\n{body}\n", page, count=1)


if __name__ == "__main__":
    write(RESULTS, PAGE)
