"""Yearly numbers of sunspots, 1700 to 2008 (see DATA.md)."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: The first year, and the first and last of those that are scored.
FIRST, SCORED, LAST = 1700, 1921, 1955


def load() -> NDArray[np.float32]:
    """[309] the mean number of each year."""
    with lzma.open(Path(__file__).with_name("sunspots.csv.xz"), "rt", encoding="ascii") as lines:
        return np.loadtxt(lines, np.float32, delimiter=",", skiprows=1, usecols=1)


def years(first: int, last: int) -> NDArray[np.float32]:
    """[years] the numbers from one year to another, both included."""
    return load()[first - FIRST : last - FIRST + 1]
