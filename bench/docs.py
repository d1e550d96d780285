"""`python -m bench docs`: the figures of `bench/results` into docs/performance.md, so that none is typed by hand.

Between `<!-- NAME -->` and `<!-- end -->` stands what `bench/results/NAME.json` says; pictures go beside the page.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from .figures import Figure, Record, number
from .plots import bars

PAGE = Path("docs/performance.md")
SECTION = re.compile(r"<!-- (?P<name>[a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)
SUMMARY = "summary"

#: Pictures that the page shows, beside that of all bounds.
PICTURES = ("poisson.png", "leak.png", "flame.svg")

HEAD = "| What | Measured | Must be | Note |\n|---|---|---|---|\n"


def write(results: Path, page: Path) -> list[str]:
    """Fills the sections of which there are results. Returns the names of those of which there are none."""
    text = page.read_text()
    names = [name for name in SECTION.findall(text) if name != SUMMARY]
    found = {name: Record.read(file) for name in names if (file := results / f"{name}.json").exists()}
    bodies = {name: table(record) for name, record in found.items()}
    bodies[SUMMARY] = _summary([f for record in found.values() for f in record.figures])
    page.write_text(SECTION.sub(lambda section: _filled(section, bodies), text))
    _pictures(results, page.parent / "pictures", list(found.values()))
    return [name for name in names if name not in found]


def _filled(section: re.Match[str], bodies: dict[str, str]) -> str:
    name = section["name"]
    return f"<!-- {name} -->\n{bodies[name]}<!-- end -->" if name in bodies else section[0]


def told(page: Path, missing: Sequence[str]) -> str:
    """One line for the terminal."""
    return f"{page} is written" + (f"; nothing was measured of {', '.join(missing)}" if missing else "")


def _pictures(results: Path, folder: Path, records: Sequence[Record]) -> None:
    folder.mkdir(exist_ok=True)
    bars(folder / "performance.png", [f for record in records for f in record.figures])
    for name in PICTURES:
        if (results / name).exists():
            shutil.copy(results / name, folder / f"performance-{name}")


def _summary(figures: Sequence[Figure]) -> str:
    """How many bounds are reached, and which are not."""
    bound = [f for f in figures if f.bound is not None]
    wrong = [f"{f.name} ({number(f.value)}, not {f.asked})" for f in bound if not f.reached]
    rest = f" Not reached: {'; '.join(wrong)}." if wrong else ""
    return f"{len(bound) - len(wrong)} of {len(bound)} bounds are reached.{rest}\n"


def table(record: Record) -> str:
    """Markdown: the day, and all figures."""
    return f"{record.machine}\n\n{HEAD}{''.join(map(_row, record.figures))}"


def _row(f: Figure) -> str:
    asked = f.asked if f.reached else f"**{f.asked}**"
    return f"| {f.name} | {number(f.value)} {f.unit} | {asked} | {f.note} |\n"
