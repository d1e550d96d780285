"""Rows that fill their range, one token each, run further call by call: between two calls only counts go up by one."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from headrace.spec import PAST

from ..prepared import Call
from ..steps import Array, Rows
from .dense import PADS
from .kinds import Layout
from .order import Sorted, back
from .residents import Residents
from .rewrite import of_kind


class Walk:
    """See `onward.Walk`. Another tick of the engine ends it.

    Mutable: what is bound to the call; `_came`, time steps of each row that were sound; `compute_cpu`.

    call: of the session, filled for a batch that has run; rows: its own, whose places hold that batch's cells.
    slots: of that batch, for nothing is carried. timed: of each output of the model.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        call: Call,
        rows: Sorted,
        slots: Rows,
        residents: Residents,
        layout: Layout,
        timed: Sequence[bool],
    ) -> None:
        self._session, self._call, self._rows, self._residents = session, call, rows, residents
        self._outputs, self._sums = call.results.cells[: len(timed)], call.results.cells[len(timed) :]
        self.slots, self._timed = slots, timed
        given = call.given.named()
        growing = [number for number, kind in enumerate(layout.kinds) if not kind.filled]
        self._totals = [given[of_kind(number, "total")] for number in growing]
        lasts = [given[of_kind(number, "last")] for number in growing]
        self._counts = [*self._totals, *lasts, *([given[PAST]] if PAST in given else [])]
        self._tokens, self._pads = call.given.cells[0], given[PADS]
        free = [layout.kinds[k].most - int(total) for k, total in zip(growing, self._totals, strict=True)]
        self.room = min(free, default=sys.maxsize)
        self.compute_cpu, self._came = 0.0, 0

    def __repr__(self) -> str:
        return f"Walk(rows={len(self._rows.rows)}, room={self.room})"

    def on(self, tokens: Rows) -> tuple[Array, ...] | None:
        """As `onward.Walk.on`."""
        self._advance(tokens)
        self.compute_cpu += self._call.run(self._session)
        if not all(math.isfinite(np.add.reduce(sums)) for sums in self._sums):
            return None
        self._came += 1
        return tuple([back(y, self._rows, timed=t) for y, t in zip(self._outputs, self._timed, strict=True)])

    def end(self) -> None:
        """The sequences hold the cells of all that came."""
        self._residents.places.held[self._rows.grown.numbers] += self._came

    def _advance(self, tokens: Rows) -> None:
        order = self._rows.order
        self._tokens[:] = tokens if order is None else tokens[order]
        for count in self._counts:
            np.add(count, 1, out=count)
        longest = max((int(total) for total in self._totals), default=0)
        self._pads[2] = max(0, longest - len(tokens))
