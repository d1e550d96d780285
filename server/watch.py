"""Which states are finite, told by their sums."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .graph import SLOTS, arena_in
from .pieces import Piece
from .steps import Array, Rows, holds


class Watch:
    """Which of the new states are finite, by their sums."""

    def __init__(self, session: ort.InferenceSession, arenas: dict[Piece, ort.OrtValue]) -> None:
        """session: of the graph `reader`."""
        self._session = session
        self._arenas = {arena_in(piece): value for piece, value in arenas.items() if piece.real}

    def sound(self, sums: Array, slots: Rows) -> NDArray[np.bool_]:
        """[rows] whether the state in the row's slot is finite, as it is if its sum is; large cells may have none."""
        sound = np.isfinite(sums)
        if not holds(sound):
            doubtful = np.flatnonzero(~sound)
            sound[doubtful] = self._finite(slots[doubtful])
        return sound

    def _finite(self, slots: Rows) -> NDArray[np.bool_]:
        """[rows] whether all cells of the states in these slots are."""
        feed = self._arenas | {SLOTS: ort.OrtValue.ortvalue_from_numpy(slots.astype(np.int64))}
        rows = [each.numpy().reshape(len(slots), -1) for each in self._session.run_with_ort_values(None, feed)]
        finite: NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(each).all(axis=1) for each in rows])
        return finite
