"""ONNX Runtime with the sequences' states in arenas of its own: one session, one thread, one call a tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.errors import ConfigurationError, ModelFailed
from headrace.spec import ModelSpec

from .batch import Batch, Outcome
from .device import Device
from .graph import READ, WRITE, arena_in, arena_out, copier, reader, with_arenas
from .memory import arena
from .pieces import Piece
from .placement import described, strays
from .prepared import Call, Calls
from .sequences import FRESH
from .steps import Array, Rows
from .walk import Walk
from .watch import Watch

PROVIDERS: dict[Device, list[str | tuple[str, dict[str, str]]]] = {
    "CPU": ["CPUExecutionProvider"],
    # TF32 has 10 bits of mantissa: the exported file's parity would not hold.
    "CUDA": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
}
ERROR_LEVEL = 3  # of ONNX Runtime's log: its warnings speak of what the operator cannot change


class OnnxEngine:
    """Runs batches of one model. Owns the arenas; only who has the lane may call it.

    slots: how many states each arena holds. One more holds the state of a fresh sequence.
    """

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec, slots: int, device: Device, threads: int = 1) -> None:
        wrapped = with_arenas(model, spec)
        self._spec, self._slots, self._timed = spec, slots, tuple(o.time for o in spec.outputs)
        self._session = session(wrapped.model, device, threads)
        self._assert_placement(device)
        self._arenas = {piece: arena(piece, slots + 1, device) for piece in wrapped.pieces}
        self._copies = Copies(wrapped.pieces, self._arenas, device)
        watched = wrapped.sums is not None
        self._watch = Watch(session(reader(wrapped.pieces), device, 1), self._arenas) if watched else None
        maps = None if wrapped.maps is None else session(wrapped.maps, "CPU", 1)
        self._calls = Calls(self._session, maps, wrapped, list(self._arenas.values()), spec, device)
        self._last: Call | None = None

    def __repr__(self) -> str:
        return f"OnnxEngine({self._spec.name}, {self._session.get_providers()[0]})"

    def run(self, batch: Batch) -> Outcome:
        """One call of the runtime. Raises ModelFailed if it refuses the batch; slots that are read never change."""
        try:
            call = self._last = self._calls.of(batch.lengths)
            call.fill(batch, self._slots)
            took = call.run(self._session)
        except Exception as error:  # the runtime's exceptions share no base but this
            raise ModelFailed(
                f"{self._spec.name}: the runtime refused a batch of {len(batch)} rows: {error}"
            ) from error
        cells = call.results.cells
        sound = np.ones(len(batch), np.bool_) if self._watch is None else self._watch.sound(cells[-1], batch.write)
        # The next call writes where this one did.
        return Outcome(batch.outputs(cells[: len(self._timed)], self._timed), sound, took)

    def arena(self, state: str) -> Array:
        """All states of that name, [slots, ...]: on the CPU a view if they lie in one arena, else a copy."""
        pieces = [piece for piece in self._arenas if piece.state.name == state]
        cells = [self._arenas[p].numpy()[: self._slots].reshape(self._slots, *p.joined) for p in pieces]
        return cells[0] if len(cells) == 1 else np.concatenate(cells, axis=1)

    def walk(self, write: Rows, spare: Rows) -> Walk | None:
        """Further with the rows of the last batch that ran, of one time step each. None of a model without states, or
        if that was only a part of those that wrote there."""
        if (
            self._last is None
            or self._last.slots is None
            or len(self._last.given.cells[self._last.slots]) != len(write)
        ):
            return None
        return Walk(self._session, self._last, write, spare, len(self._timed), self._watch)

    def begin(self, numbers: Rows, source: tuple[Array, ...], lengths: Rows) -> NDArray[np.bool_]:
        """Raises ModelFailed: sequences of a model without caches begin with no source."""
        raise ModelFailed(f"{self._spec.name}: has no start graph")

    def fork(self, number: int, slot: int, length: int, numbers: Rows, slots: Rows) -> None:
        """The state in `slot` is copied to `slots`; by the sequences' numbers nothing is kept here."""
        self._copies.run(slot, slots)

    def forget(self, numbers: Rows) -> None:
        """By their numbers nothing is kept."""

    def placement(self) -> str:
        """Where the graph's nodes run, such as "CPU: 2 LSTM, 5 Gather"."""
        return described(self._nodes())

    def _nodes(self) -> Counter[tuple[str, str]]:
        return nodes(self._session)

    def _assert_placement(self, device: Device) -> None:
        """Raises ConfigurationError if what does the work would run elsewhere, its inputs carried there and back."""
        if elsewhere := strays(self._nodes(), device):
            raise ConfigurationError(
                f"{self._spec.name}: {device} has no kernel for {', '.join(elsewhere)} as exported; "
                "serve it with device cpu, or export it with an opset of at most 21"
            )


class Copies:
    """States copied from slot to slot, wherever the arenas lie."""

    def __init__(self, parts: Sequence[Piece], arenas: dict[Piece, ort.OrtValue], device: Device) -> None:
        self._arenas, self._device = arenas, device
        self._session = session(copier(parts), device, 1) if parts else None

    def run(self, slot: int, slots: Rows) -> None:
        """The state in `slot` is in all of `slots` too. A sequence without a state, FRESH, has none to copy."""
        if self._session is None or slot == FRESH or not len(slots):
            return
        binding = self._session.io_binding()
        for name, cells in ((READ, np.full(len(slots), slot)), (WRITE, slots)):
            binding.bind_cpu_input(name, cells.astype(np.int64))
        for piece, value in self._arenas.items():
            binding.bind_ortvalue_input(arena_in(piece), value)
            binding.bind_ortvalue_output(arena_out(piece), value)
        self._session.run_with_iobinding(binding)


def nodes(of: ort.InferenceSession) -> Counter[tuple[str, str]]:
    """How many of (device, operator)."""
    return Counter(
        (part.ep_name.removesuffix("ExecutionProvider"), node.op_type)
        for part in of.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    )


def session(model: onnx.ModelProto, device: Device, threads: int) -> ort.InferenceSession:
    """Raises ConfigurationError if the runtime cannot load the model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = ERROR_LEVEL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=PROVIDERS[device])
    except Exception as error:  # the runtime's exceptions share no base but this
        raise ConfigurationError(f"the runtime cannot load the model: {error}") from error
