"""ONNX Runtime with the sequences' keys and values in arenas of its own: one thread, one call a tick.

Two sessions work on the same arenas: `dense` for ticks of one token a row that leave no row of their range idle, the
other for all ticks. Each has the weights.
"""

from __future__ import annotations

import mmap

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.errors import ConfigurationError, ModelFailed
from headrace.ragged import starts
from headrace.spec import PAST, ModelSpec

from ..batch import Batch, Grown, Outcome
from ..device import Device
from ..engine import Copies, nodes, session
from ..graph import reader, with_arenas
from ..memory import arena
from ..placement import described
from ..prepared import Call, Calls
from ..steps import Array, Outputs, Rows
from ..watch import Watch
from .controls import Span, fill
from .dense import dense
from .kinds import layout
from .order import Sorted, back, in_order
from .probe import ROWS, probe
from .residents import Residents, extent
from .rewrite import rewritten
from .singles import Range, tell
from .start import Starter
from .tail import shorten
from .walk import Walk


class CachedEngine:
    """Runs batches of one model with caches. Owns cells and arenas; only the lane's thread may call it.

    A sequence's first `past` cells are valid; those behind are written, and may be written again by a later tick from
    the same `past`: nothing is committed here. rows: the most in a batch; twice as many sequences have a hot row.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        spec: ModelSpec,
        slots: int,
        device: Device,
        threads: int = 1,
        *,
        rows: int,
        start: onnx.ModelProto | None = None,
    ) -> None:
        """slots: of carried states, as in OnnxEngine. start: given if the spec has a start.

        Raises ConfigurationError if the model cannot be served so on this device.
        """
        if device != "CPU":
            raise ConfigurationError(
                f"{spec.name}: models with caches are served on the CPU for now; choose device cpu"
            )
        if (start is None) is not (spec.start is None):
            raise ConfigurationError(f"{spec.name}: the start graph must lie beside the model if its spec has a start")
        self._spec, self._slots, self._timed = spec, slots, tuple(o.time for o in spec.outputs)
        self._counts = spec.counts
        self._layout = layout(spec, mmap.PAGESIZE)
        wrapped = with_arenas(model, spec)
        self._dense = session(dense(wrapped.model, self._layout), device, threads)
        shorten(wrapped.model, self._layout, spec.outputs)
        self._session = session(rewritten(wrapped.model, self._layout), device, threads)
        self._arenas = {piece: arena(piece, slots + 1, device) for piece in wrapped.pieces}
        self._copies = Copies(wrapped.pieces, self._arenas, device)
        self._watch = Watch(session(reader(wrapped.pieces), device, 1), self._arenas) if wrapped.sums else None
        maps = None if wrapped.maps is None else session(wrapped.maps, "CPU", 1)
        arenas = list(self._arenas.values())
        self._calls = Calls(self._session, maps, wrapped, arenas, spec, device)
        self._dense_calls = Calls(self._dense, maps, wrapped, arenas, spec, device)
        self._residents = Residents(self._layout, max(2 * rows, ROWS))
        self._starter = None if start is None else Starter(start, spec, threads)
        self._last: tuple[Call, Sorted] | None = None
        probe(self.run, self._residents, spec)

    def __repr__(self) -> str:
        return f"CachedEngine({self._spec.name}, {self._residents.places!r})"

    def run(self, batch: Batch) -> Outcome:
        """One call of the runtime. Raises ModelFailed if it refuses the batch; cells before `past` never change."""
        if batch.grown is None:
            raise ModelFailed(
                f"{self._spec.name}: a batch of a model with caches must tell how far its rows have grown"
            )
        try:
            rows = self._sorted(batch, batch.grown)
            runs, call = self._ready(rows, *extent(rows.rows))
            self._last = (call, rows) if runs is self._dense else None
            took = call.run(runs)
        except Exception as error:  # the runtime's exceptions share no base but this
            self._residents.failed(*batch.grown)
            raise ModelFailed(
                f"{self._spec.name}: the runtime refused a batch of {len(batch)} rows: {error}"
            ) from error
        sound = self._sound(rows, list(call.results.cells[len(self._timed) :]))
        return Outcome(self._outputs(rows, call, batch.given), back(sound, rows, timed=False), took)

    def walk(self, write: Rows, spare: Rows) -> Walk | None:
        """Further with the rows of the last batch that ran: None where there are states that are carried, where the
        rows leave others of their range idle, or if that was only a part of those that wrote there."""
        del spare
        if self._last is None or self._arenas or len(self._last[1].rows) != len(write):
            return None
        return Walk(self._dense, *self._last, write, self._residents, self._layout, self._timed)

    def begin(self, numbers: Rows, source: tuple[Array, ...], lengths: Rows) -> NDArray[np.bool_]:
        """The start graph on packed sources, [tokens, ...] of each of its inputs → [rows] whether the cells are finite.

        If so they are kept. Raises ModelFailed if the runtime refuses, or the model has no start.
        """
        if self._starter is None:
            raise ModelFailed(f"{self._spec.name}: has no start graph")
        try:
            found, sound = self._starter.run(source, lengths)
        except Exception as error:  # the runtime's exceptions share no base but this
            raise ModelFailed(f"{self._spec.name}: the runtime refused {len(lengths)} sources: {error}") from error
        for number, cells, good in zip(numbers.tolist(), found, sound.tolist(), strict=True):
            if good:
                self._residents.keep(number, cells)
        return sound

    def fork(self, number: int, slot: int, length: int, numbers: Rows, slots: Rows) -> None:
        """The sequences `numbers` become what `number` is after `length` time steps: cells, and the state in its slot.

        Raises ModelFailed if so many cells of it are not there.
        """
        try:
            self._residents.fork(number, length, numbers)
        except ValueError as error:
            raise ModelFailed(f"{self._spec.name}: sequence cannot be forked: {error}") from error
        self._copies.run(slot, slots)

    def forget(self, numbers: Rows) -> None:
        """Nothing of them is kept; their memory is given back, but for some pages that others will need."""
        self._residents.forget(numbers.tolist())

    def placement(self) -> str:
        """Where the graph's nodes run, such as "CPU: 4 GroupQueryAttention, 16 Gemm"."""
        return described(nodes(self._session))

    @property
    def bytes(self) -> int:
        """Of all cells in use."""
        return self._residents.bytes

    @property
    def cell_bytes(self) -> int:
        """Of the cells of one time step of a sequence."""
        return self._layout.cell_bytes

    def _sorted(self, batch: Batch, grown: Grown) -> Sorted:
        rows = self._residents.enter(grown.numbers, grown.past, batch.lengths)
        return in_order(batch, grown, rows)

    def _ready(self, rows: Sorted, first: int, stop: int) -> tuple[ort.InferenceSession, Call]:
        """The session that is the quicker for rows of this range, and its call."""
        if rows.fill(first, stop):
            return self._dense, self._filled(rows, first, stop)
        return self._session, self._call(rows, first, stop)

    def _call(self, rows: Sorted, first: int, stop: int) -> Call:
        places, numbers, lengths = self._residents.places, rows.grown.numbers, rows.batch.lengths
        cells = self._residents.cells
        span = Span(cells, self._layout, self._counts, lengths, rows.asked, rows.singles, first, stop)
        call = self._calls.of(lengths, span)
        call.fill(rows.batch, self._slots)
        used = rows.grown.past, places.filled[numbers], places.base[:, numbers]
        fill(call.given.named(), span, rows.rows - first, *used)
        return call

    def _filled(self, rows: Sorted, first: int, stop: int) -> Call:
        """The same for a range in which each row has one token."""
        places, numbers = self._residents.places, rows.grown.numbers
        range_ = Range(self._residents.cells, self._layout, self._counts, first, stop)
        call = self._dense_calls.of(rows.batch.lengths, range_)
        call.fill(rows.batch, self._slots)
        own = call.given.cells[-range_.width :]
        tell(own, range_, rows.grown.past, places.filled[numbers], places.base[:, numbers])
        return call

    def _outputs(self, rows: Sorted, call: Call, given: Rows) -> Outputs:
        """Of so many time steps of each row; where there are none at all, the graph has run for one nevertheless."""
        cells = zip(call.results.cells, self._timed, strict=False)
        none = rows.batch.asked is not None and not given.any()
        outputs = [y[:0] if timed and none else back(y, rows, timed=timed) for y, timed in cells]
        return Outputs(tuple(outputs), self._timed, given)

    def _sound(self, rows: Sorted, sums: list[Array]) -> NDArray[np.bool_]:
        """[rows] whether the new cells, and the new states, are finite; sums: what the graph tells of both."""
        sound = self._cells_sound(rows, sums.pop()) if PAST in self._counts else np.ones(len(rows.rows), np.bool_)
        if self._watch is not None:
            sound &= self._watch.sound(sums.pop(), rows.batch.write)
        return sound

    def _cells_sound(self, rows: Sorted, sums: Array) -> NDArray[np.bool_]:
        """sums [tokens] of new cells, which may not be finite where large cells are."""
        sound = np.isfinite(sums)
        if len(rows.rows) < len(sums):
            sound = np.logical_and.reduceat(sound, starts(rows.batch.lengths))
        if np.count_nonzero(sound) < len(sound):
            for row in np.flatnonzero(~sound).tolist():
                begin, count = int(rows.grown.past[row]), int(rows.batch.lengths[row])
                sound[row] = self._residents.finite(int(rows.grown.numbers[row]), begin, begin + count)
        return sound
