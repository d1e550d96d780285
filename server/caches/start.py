"""The start graph: from packed sources to the cells of all filled caches, once for each sequence."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from headrace.ragged import starts
from headrace.spec import LENGTHS, ModelSpec

from ..engine import session
from ..steps import Array, Rows


class Starter:
    def __init__(self, model: onnx.ModelProto, spec: ModelSpec, threads: int) -> None:
        """spec: the model's, whose start this is."""
        started = spec.started()
        self._inputs, self._outputs = [i.name for i in started.inputs], [o.name for o in started.outputs]
        self._session = session(model, "CPU", threads)
        self._takes = {given.name for given in self._session.get_inputs()}

    def run(self, source: tuple[Array, ...], lengths: Rows) -> tuple[list[dict[str, Array]], NDArray[np.bool_]]:
        """source [tokens, ...] of each input → of each row its cells by the tensor's name, [heads, cells, width];
        and whether they are finite, [rows]."""
        feed = dict(zip(self._inputs, source, strict=True)) | ({LENGTHS: lengths} if LENGTHS in self._takes else {})
        packed = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        sound = np.ones(len(lengths), np.bool_)
        for cells in packed.values():  # [tokens, heads, width]
            finite = np.isfinite(cells).reshape(len(cells), -1).all(axis=1)  # [tokens]
            sound &= np.logical_and.reduceat(finite, starts(lengths))
        rows = zip(starts(lengths).tolist(), lengths.tolist(), strict=True)
        return [_row(packed, slice(begin, begin + length)) for begin, length in rows], sound


def _row(packed: dict[str, Array], tokens: slice) -> dict[str, Array]:
    return {name: cells[tokens].transpose(1, 0, 2).copy() for name, cells in packed.items()}
