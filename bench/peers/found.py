"""What a comparison found, kept as JSON, so that table, picture and figures can be made of it later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ..machine import Machine
from .point import Point


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting. rates: steps a second of each load, as far as it came; failed: how it ended if it did not come to the
    end; answers: to a few steps of one sequence."""

    peer: str
    setting: str
    rates: list[float]
    failed: str
    answers: list[float]


@dataclass(frozen=True, slots=True)
class Found:
    """versions: of each peer; missing: why it cannot be had, of the others."""

    machine: Machine
    versions: dict[str, str]
    missing: dict[str, str]
    tried: Sequence[Tried]
    points: Sequence[Point]

    def at(self, peer: str, sequences: int) -> Point:
        """Raises KeyError if the peer was not there."""
        for point in self.points:
            if (point.peer, point.sequences) == (peer, sequences):
                return point
        raise KeyError(f"{peer} at {sequences}")

    @property
    def peers(self) -> list[str]:
        """Those that were measured, in order."""
        return list(dict.fromkeys(point.peer for point in self.points))

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Self:
        data = json.loads(file.read_text())
        data |= {"machine": Machine(**data["machine"])}
        data |= {"tried": [Tried(**each) for each in data["tried"]]}
        return cls(**data | {"points": [Point(**each) for each in data["points"]]})
