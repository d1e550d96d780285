"""What a comparison found, kept as JSON, so that table, picture and figures can be made of it later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Self

from ..machine import Machine
from .truth import Judged


@dataclass(frozen=True, slots=True)
class Point:
    """One entrant with so many sequences. rate: tokens a second, all sequences together; first: seconds to the first
    token, the median of the sequences; cpu: seconds on a core a token, a server's without its client's."""

    entrant: str
    sequences: int
    rate: float
    first: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What an entrant writes, against eager PyTorch. apart: the largest difference of the logits behind a prompt."""

    apart: float
    judged: Judged


@dataclass(frozen=True, slots=True)
class Found:
    """versions: of each entrant; missing: why the others have no points; rounds: how often each had its turn."""

    machine: Machine
    rounds: int
    versions: dict[str, str]
    missing: dict[str, str]
    checked: dict[str, Checked]
    points: Sequence[Point]

    @property
    def entrants(self) -> list[str]:
        """Those that were measured, in order."""
        return list(dict.fromkeys(point.entrant for point in self.points))

    def at(self, entrant: str, sequences: int) -> Point:
        """Raises KeyError if it was not there."""
        for point in self.points:
            if (point.entrant, point.sequences) == (entrant, sequences):
                return point
        raise KeyError(f"{entrant} at {sequences}")

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Self:
        data = json.loads(file.read_text())
        data["machine"] = Machine(**data["machine"])
        data["checked"] = {name: Checked(c["apart"], Judged(**c["judged"])) for name, c in data["checked"].items()}
        return cls(**data | {"points": [Point(**each) for each in data["points"]]})


def middles(points: Sequence[Point]) -> list[Point]:
    """Of the rounds of each entrant and load, each figure's median; entrants in their order, loads as they rise."""
    rounds: dict[tuple[str, int], list[Point]] = {}
    names = list(dict.fromkeys(point.entrant for point in points))
    for point in sorted(points, key=lambda point: (names.index(point.entrant), point.sequences)):
        rounds.setdefault((point.entrant, point.sequences), []).append(point)
    return [_middle(each) for each in rounds.values()]


def _middle(points: Sequence[Point]) -> Point:
    rate, first, cpu = (median(column) for column in zip(*((p.rate, p.first, p.cpu) for p in points), strict=True))
    return replace(points[0], rate=rate, first=first, cpu=cpu)
