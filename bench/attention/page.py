"""`python -m bench.attention.page`: what was measured last into docs/attention.md, between its marks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .found import Found
from .measure import PICTURE, POINTS
from .report import text

RESULTS, PAGE = Path("bench/results"), Path("docs/attention.md")
SECTION = re.compile(r"(?<=<!-- generation -->\n).*?(?=<!-- end -->)", re.DOTALL)


def write(results: Path, page: Path) -> None:
    """Raises FileNotFoundError if nothing was measured yet."""
    body = f"\n{text(Found.read(results / POINTS))}\n"
    page.write_text(SECTION.sub(lambda _: body, page.read_text()))
    (page.parent / "pictures").mkdir(exist_ok=True)
    shutil.copy(results / PICTURE, page.parent / "pictures")


if __name__ == "__main__":
    write(RESULTS, PAGE)
