"""Calls of the runtime, prepared once for rows of certain lengths: all is bound, only cells are copied in and out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime as ort

from headrace.spec import LENGTHS, ModelSpec

from .batch import Batch
from .device import Device
from .graph import READ, SUMS, WRITE, Wrapped, arena_in, arena_out
from .memory import Block, Cells, block, layout, view
from .steps import Array, Rows, occurs

KEPT = 256
"""Prepared calls of one engine; ticks of up to so many rows, each of one step, recur."""
KEPT_BYTES = 1 << 16
"""The index maps of a long ragged batch take more, and it hardly recurs."""
SMALLEST_BLOCK = 1 << 16

Parts = Sequence[tuple[str, Cells]]
"""Names with dtypes and shapes."""


class More(Protocol):
    """What a call takes and gives beside the inputs, outputs and states of the spec; it is another one by its key."""

    @property
    def key(self) -> bytes: ...

    def outputs(self, tokens: int) -> int:
        """Of so many of the batch's tokens outputs come."""

    def bind(self, binding: ort.IOBinding) -> None:
        """To memory that stays."""

    def given(self) -> Parts:
        """Behind all else that is given."""

    def fixed(self) -> Mapping[str, Array]:
        """What hangs on the key and the lengths alone."""

    def results(self) -> Parts:
        """Behind all else that comes out."""


@dataclass(frozen=True, slots=True)
class Side:
    """What goes in, or what comes out: arrays in the first `size` bytes of a block."""

    block: Block
    size: int
    names: tuple[str, ...]
    cells: tuple[Array, ...]

    def named(self) -> dict[str, Array]:
        return dict(zip(self.names, self.cells, strict=True))


@dataclass(frozen=True, slots=True)
class Call:
    """given: for each input [tokens, ...], then, of a model with states, the slots to read and to write, each [rows].

    results: for each output; then, of a model that is watched, the sums of its new states [rows]. fixed: inputs that
    hang on the lengths alone, whose memory is to outlive the call. slots: where READ stands among what is given.
    """

    binding: ort.IOBinding
    given: Side
    results: Side
    fixed: tuple[ort.OrtValue, ...]
    slots: int | None

    def fill(self, batch: Batch, initial: int) -> None:
        """initial: the slot that fresh rows read. Raises ValueError or TypeError for a wrong shape or dtype."""
        for place, values in zip(self.given.cells, batch.values, strict=False):
            if place.shape != values.shape:  # numpy would repeat one row for all
                raise ValueError(f"an input is {values.shape}, not {place.shape}")
            np.copyto(place, values, casting="equiv")
        if self.slots is not None:
            read, write = self.given.cells[self.slots : self.slots + 2]
            read[:], write[:] = batch.read, batch.write
            if occurs(batch.fresh):
                read[batch.fresh] = initial

    def run(self, session: ort.InferenceSession) -> float:
        """CPU seconds inside the runtime. Raises whatever that raises: its exceptions share no base but Exception."""
        self.given.block.push(self.given.size)
        began = time.thread_time()
        session.run_with_iobinding(self.binding)
        took = time.thread_time() - began
        self.results.block.pull(self.results.size)
        return took


class Calls:
    """The prepared calls of one session. Mutable: those that are kept, and the blocks, which grow."""

    def __init__(
        self,
        session: ort.InferenceSession,
        maps: ort.InferenceSession | None,
        wrapped: Wrapped,
        arenas: Sequence[ort.OrtValue],
        spec: ModelSpec,
        device: Device,
    ) -> None:
        self._session, self._maps, self._wrapped, self._spec, self._device = session, maps, wrapped, spec, device
        self._arenas = dict(zip(wrapped.pieces, arenas, strict=True))
        self._places = _places(session)
        self._kept: OrderedDict[bytes, Call] = OrderedDict()
        self._into, self._out = block(SMALLEST_BLOCK, device), block(SMALLEST_BLOCK, device)

    def of(self, lengths: Rows, more: More | None = None) -> Call:
        """For rows of these lengths."""
        key = lengths.tobytes() if more is None else lengths.tobytes() + more.key
        call = self._kept.get(key)
        if call is None:
            return self._keep(key, self._prepare(lengths, more))
        self._kept.move_to_end(key)
        return call

    def _keep(self, key: bytes, call: Call) -> Call:
        if sum(value.tensor_size_in_bytes() for value in call.fixed) <= KEPT_BYTES:
            self._kept[key] = call
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return call

    def _prepare(self, lengths: Rows, more: More | None) -> Call:
        binding, fixed = self._session.io_binding(), self._fixed(lengths, more)
        for name, value in fixed.items():
            binding.bind_ortvalue_input(name, value)
        for piece, arena in self._arenas.items():
            binding.bind_ortvalue_input(arena_in(piece), arena)
            binding.bind_ortvalue_output(arena_out(piece), arena)
        rows, tokens = len(lengths), int(lengths.sum())
        outputs = tokens if more is None else more.outputs(tokens)
        given, results = self._given(rows, tokens), self._results(rows, outputs)
        if more is not None:
            more.bind(binding)
            given, results = [*given, *more.given()], [*results, *more.results()]
        self._into, self._out = _grown(self._into, given, self._device), _grown(self._out, results, self._device)
        into = _bind(binding.bind_input, given, self._into, self._device)
        out = _bind(binding.bind_output, results, self._out, self._device)
        return Call(binding, into, out, tuple(fixed.values()), len(self._spec.inputs) if self._arenas else None)

    def _fixed(self, lengths: Rows, more: More | None) -> dict[str, ort.OrtValue]:
        fixed = {LENGTHS: lengths.copy()} if LENGTHS in self._places else {}
        fixed.update({} if more is None else more.fixed())
        if self._maps is not None:
            names = [output.name for output in self._maps.get_outputs()]
            fixed.update(zip(names, self._maps.run(names, {LENGTHS: lengths}), strict=True))
        return {n: ort.OrtValue.ortvalue_from_numpy(cells, self._places[n], 0) for n, cells in fixed.items()}

    def _given(self, rows: int, tokens: int) -> Parts:
        slot = (np.dtype(np.int64), (rows,))
        values = [(i.name, (np.dtype(i.dtype), (tokens, *i.shape))) for i in self._spec.inputs]
        return values + [(name, slot) for name in (READ, WRITE) if self._arenas]

    def _results(self, rows: int, tokens: int) -> Parts:
        cells = [(o.name, (np.dtype(o.dtype), (tokens if o.time else rows, *o.shape))) for o in self._spec.outputs]
        sums = self._wrapped.sums
        return cells if sums is None else [*cells, (SUMS, (np.dtype(sums), (rows,)))]


def _grown(given: Block, parts: Parts, device: Device) -> Block:
    """The block itself if it is large enough. Calls that use the smaller one keep it."""
    _, size = layout([cells for _, cells in parts])
    return given if size <= len(given.host) else block(2 * size, device)


def _bind(bind: Callable[..., None], parts: Parts, to: Block, device: Device) -> Side:
    offsets, size = layout([cells for _, cells in parts])
    for (name, (dtype, shape)), offset in zip(parts, offsets, strict=True):
        bind(name, device.lower(), 0, dtype, shape, to.address + offset)
    views = tuple(view(to, at, cells) for at, (_, cells) in zip(offsets, parts, strict=True))
    return Side(to, size, tuple(name for name, _ in parts), views)


def _places(session: ort.InferenceSession) -> dict[str, str]:
    """Of each input, on which device its operators read it: sizes and lengths stay on the CPU."""
    infos = session.get_input_memory_infos()
    names = [given.name for given in session.get_inputs()]
    return {n: "cuda" if info.name == "Cuda" else "cpu" for n, info in zip(names, infos, strict=True)}
