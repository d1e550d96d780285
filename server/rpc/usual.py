"""Columns that mostly hold the same: made once, and handed out as views. None of them is ever written to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..steps import STATELESS, Rows

#: Rows for which they are made beforehand; longer ones are made anew.
USUAL = 1024

_PLACES = np.arange(USUAL, dtype=np.uint32)
_NUMBERS = np.full(USUAL, STATELESS, np.int32)
_NEVER = np.full(USUAL, np.inf)
_ONES = np.ones(USUAL, "<i8")
_ONES_CELLS = _ONES.tobytes()


def places(rows: int) -> NDArray[np.uint32]:
    """[rows] 0, 1, 2, …"""
    return _PLACES[:rows] if rows <= USUAL else np.arange(rows, dtype=np.uint32)


def no_numbers(rows: int) -> NDArray[np.int32]:
    """[rows] as steps come, before their lane has found their sequences."""
    return _NUMBERS[:rows] if rows <= USUAL else np.full(rows, STATELESS, np.int32)


def no_deadlines(rows: int) -> NDArray[np.float64]:
    """[rows] of steps that may wait for ever."""
    return _NEVER[:rows] if rows <= USUAL else np.full(rows, np.inf)


def single(cells: bytes) -> Rows | None:
    """Lengths [rows] from little-endian cells of 8 bytes, if all are 1: told by comparing bytes, without arithmetic."""
    if len(cells) % 8 or not _ONES_CELLS.startswith(cells):
        return None
    return _ONES[: len(cells) // 8]
