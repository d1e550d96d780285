"""What a measurement says: figures with what they must reach, as a table, as JSON and, read back, for the pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from .machine import Machine

#: A measurement: runs, may leave pictures and logs in the folder of results, and says what it found.
Measure = Callable[[Path], list["Figure"]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value in `unit`.

    bound: what it must reach, in the same unit; None if it is only told. at_least: whether the bound is the least that
    will do, else it is the most. note: how it came about, in few words.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def reached(self) -> bool:
        """NaN reaches nothing."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def asked(self) -> str:
        """The bound in words; empty if there is none."""
        return "" if self.bound is None else f"{'≥' if self.at_least else '≤'} {number(self.bound)}"


@dataclass(frozen=True, slots=True)
class Record:
    """A measurement's figures, with the day and the machine that they are of."""

    name: str
    machine: Machine
    figures: tuple[Figure, ...]

    def write(self, results: Path) -> Path:
        """`results/NAME.json`."""
        file = results / f"{self.name}.json"
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return file

    @classmethod
    def read(cls, file: Path) -> Record:
        data = json.loads(file.read_text())
        return cls(data["name"], Machine(**data["machine"]), tuple(Figure(**each) for each in data["figures"]))


def number(value: float, digits: int = 3) -> str:
    """For people: so many digits that count, all digits of what is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def short(figures: Sequence[Figure]) -> list[str]:
    """The rows that fall short, each with what it is and what it should be."""
    return [f"{f.name}: {number(f.value, 4)} {f.unit}, not {f.asked}" for f in figures if not f.reached]


def table(figures: Sequence[Figure]) -> Table:
    """A mark stands before what falls short."""
    shown = Table("", "what", "measured", "unit", "must be", "note", box=None)
    for f in figures:
        shown.add_row("" if f.reached else "✗", f.name, number(f.value), f.unit, f.asked, f.note)
    return shown
