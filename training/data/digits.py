"""Handwritten digits of 8x8 pixels (Alpaydin and Kaynak 1998; see DATA.md)."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: The classes, in the order of their numbers.
LABELS = tuple("0123456789")

#: Pixels of a side, and the grey levels of one, from 0 (paper) to 16 (ink).
SIDE, LEVELS = 8, 17


@dataclass(frozen=True, slots=True)
class Digits:
    """Images and what they show.

    images: [rows, 8, 8] int64, each pixel in [0, 17)
    labels: [rows] int64, indices into LABELS
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]

    def take(self, indices: NDArray[np.int64]) -> Digits:
        """The chosen images, in the order of `indices`."""
        return Digits(self.images[indices], self.labels[indices])

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Digits({len(self)} images)"


def load(part: str) -> Digits:
    """The "TRAIN" (1,437) or "TEST" (360) part of the stratified split, in the order of the source."""
    cells = _numbers("digits.csv.xz")  # [1797, 64 pixels and the class]
    every = Digits(cells[:, :-1].reshape(-1, SIDE, SIDE), cells[:, -1])
    test = _numbers("digits_test.txt.xz")[:, 0]
    return every.take(test if part == "TEST" else np.setdiff1d(np.arange(len(every)), test))


def held_out(digits: Digits, each: int, generator: np.random.Generator) -> tuple[Digits, Digits]:
    """All but `each` images of every class, drawn at random, and those: the parts to train on and to select by."""
    order = generator.permutation(len(digits))
    chosen = np.concatenate([order[digits.labels[order] == c][:each] for c in range(len(LABELS))])
    return digits.take(np.setdiff1d(order, chosen)), digits.take(np.sort(chosen))


def _numbers(name: str) -> NDArray[np.int64]:
    with lzma.open(Path(__file__).with_name(name), "rt", encoding="ascii") as lines:
        return np.loadtxt(lines, np.int64, delimiter=",", ndmin=2)
