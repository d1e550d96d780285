"""States that are carried, run further call by call: between two calls only slots change places."""

from __future__ import annotations

import sys

import onnxruntime as ort

from .prepared import Call
from .steps import Array, Rows, holds
from .watch import Watch


class Walk:
    """See `onward.Walk`. Another tick of the engine ends it.

    Every call reads where the last sound one wrote, and writes to the slots that were read by that; so what the batch
    itself has read is never written. Mutable: what is bound to the call; `slots`, `_spare`, [rows] each; `compute_cpu`.

    call: filled for a batch that has run, of rows with one time step each. write, spare [rows]: where it wrote, and
    other free slots. outputs: how many the model has. watch: None if no state can be other than finite.
    """

    room = sys.maxsize

    def __init__(
        self, session: ort.InferenceSession, call: Call, write: Rows, spare: Rows, outputs: int, watch: Watch | None
    ) -> None:
        self._session, self._call, self._watch = session, call, watch
        self.slots, self._spare = write, spare
        assert call.slots is not None, "a call of a model with states has slots"
        self._tokens = call.given.cells[0]
        self._read, self._write = call.given.cells[call.slots : call.slots + 2]
        self._outputs, self._sums = call.results.cells[:outputs], call.results.cells[-1]
        self.compute_cpu = 0.0

    def __repr__(self) -> str:
        return f"Walk(rows={len(self.slots)})"

    def on(self, tokens: Rows) -> tuple[Array, ...] | None:
        """As `onward.Walk.on`."""
        self._tokens[:], self._read[:], self._write[:] = tokens, self.slots, self._spare
        self.compute_cpu += self._call.run(self._session)
        if self._watch is not None and not holds(self._watch.sound(self._sums, self._spare)):
            return None
        self.slots, self._spare = self._spare, self.slots
        return tuple([y.copy() for y in self._outputs])

    def end(self) -> None:
        """Nothing is kept of it."""
