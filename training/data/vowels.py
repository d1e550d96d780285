"""JapaneseVowels: which of nine speakers says two vowels (Kudo et al. 1999; see DATA.md)."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: The classes, in the order of their numbers.
LABELS = tuple(f"speaker-{n}" for n in range(1, 10))

#: Values of one time step.
CHANNELS = 12


@dataclass(frozen=True, slots=True)
class Utterances:
    """Sequences and their classes.

    rows:   [time, 12] float32 each, in the units of the recording
    labels: [rows] int64, indices into LABELS
    """

    rows: list[NDArray[np.float32]]
    labels: NDArray[np.int64]

    def take(self, indices: NDArray[np.int64]) -> Utterances:
        """The chosen utterances, in the order of `indices`."""
        return Utterances([self.rows[i] for i in indices], self.labels[indices])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Utterances({len(self)} of {sum(map(len, self.rows))} time steps)"


def load(part: str) -> Utterances:
    """The "TRAIN" (270) or "TEST" (370) part of the source."""
    path = Path(__file__).with_name(f"JapaneseVowels_{part}.ts.xz")
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return parse(lines.read())


def parse(text: str) -> Utterances:
    """Reads the `.ts` format: after `@data` one utterance a line, channels and last the class apart by colons."""
    lines = text.split("@data\n", 1)[1].splitlines()
    cells = [line.split(":") for line in lines]
    rows = [np.array([c.split(",") for c in channels], np.float32).T.copy() for *channels, _ in cells]
    return Utterances(rows, np.array([int(label) - 1 for *_, label in cells], np.int64))


def held_out(utterances: Utterances, each: int, generator: np.random.Generator) -> tuple[Utterances, Utterances]:
    """All but `each` utterances of every class, drawn at random, and those: the parts to train on and to select by."""
    order = generator.permutation(len(utterances))
    chosen = np.concatenate([order[utterances.labels[order] == c][:each] for c in np.unique(utterances.labels)])
    return utterances.take(np.setdiff1d(order, chosen)), utterances.take(np.sort(chosen))
