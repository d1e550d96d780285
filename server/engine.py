"""ONNX Runtime with the sequences' states in arenas of its own: one session, one thread, one call a tick."""

from __future__ import annotations

import mmap
import sys
from collections import Counter
from math import prod

import numpy as np
import onnx
import onnxruntime as ort

from headrace.errors import ConfigurationError, ModelFailed
from headrace.spec import LENGTHS, ModelSpec, State

from .batch import Batch, Outcome, blank
from .device import Device
from .graph import FINITE, FRESH, READ, WRITE, arena_in, arena_out, with_arenas
from .steps import Array

ERROR_LEVEL = 3  # of ONNX Runtime's log: its warnings speak of what the operator cannot change


class OnnxEngine:
    """Runs batches of one model. Owns the arenas; only the lane's thread may call `run`.

    slots: how many states each arena holds.
    """

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec, slots: int, device: Device, threads: int = 1) -> None:
        self._spec = spec
        self._session = _session(with_arenas(model, spec), device, threads)
        self._arenas = {state.name: allocate(state, slots, device) for state in spec.states}
        self._binding = self._session.io_binding()
        for state in spec.states:
            self._binding.bind_ortvalue_input(arena_in(state), self._arenas[state.name])
            self._binding.bind_ortvalue_output(arena_out(state), self._arenas[state.name])

    def __repr__(self) -> str:
        return f"OnnxEngine({self._spec.name}, {self._session.get_providers()[0]})"

    def run(self, batch: Batch) -> Outcome:
        """One call of the runtime. Raises ModelFailed if it refuses the batch; slots that are read never change."""
        outputs, sound = blank(self._spec.outputs, batch.lengths), np.ones(len(batch), np.bool_)
        for given, values in zip(self._spec.inputs, batch.values, strict=True):
            self._bind_input(given.name, values)
        self._bind_input(LENGTHS, batch.lengths)
        for output, cells in zip(self._spec.outputs, outputs.cells, strict=True):
            self._bind_output(output.name, cells)
        if self._spec.stateful:
            for name, column in ((READ, batch.read), (WRITE, batch.write), (FRESH, batch.fresh)):
                self._bind_input(name, column)
            self._bind_output(FINITE, sound)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # the runtime's exceptions share no base but this
            raise ModelFailed(
                f"{self._spec.name}: the runtime refused a batch of {len(batch)} rows: {error}"
            ) from error
        return Outcome(outputs, sound)

    def arena(self, state: str) -> Array:
        """The states in the arena of that name, [slots, ...]: on the CPU a view, else a copy."""
        cells: Array = self._arenas[state].numpy()
        return cells

    def placement(self) -> str:
        """Where the graph's nodes run, such as "CPU: 2 LSTM, 5 Gather"."""
        nodes = Counter(
            (part.ep_name.removesuffix("ExecutionProvider"), node.op_type)
            for part in self._session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        )
        places = sorted({place for place, _ in nodes})
        return "; ".join(f"{p}: " + ", ".join(f"{n} {op}" for (q, op), n in nodes.items() if q == p) for p in places)

    def _bind_input(self, name: str, values: Array) -> None:
        self._binding.bind_cpu_input(name, np.ascontiguousarray(values))

    def _bind_output(self, name: str, cells: Array) -> None:
        self._binding.bind_output(name, "cpu", 0, cells.dtype, cells.shape, cells.ctypes.data)


def allocate(state: State, slots: int, device: Device) -> ort.OrtValue:
    """Memory for `slots` states, [slots, *shape], on the device.

    On Linux's CPU it is anonymous memory without huge pages: the kernel gives a page when a slot on it is first
    written, so that an arena for many sequences costs what its live ones need. Raises ConfigurationError if there is
    not so much memory.
    """
    shape = (slots, *state.shape)
    size = prod(shape) * np.dtype(state.dtype).itemsize
    try:
        return _allocated(shape, state, size, device)
    except Exception as error:  # of the system, numpy or the runtime, which share no base but this
        raise ConfigurationError(
            f"state {state.name} of {slots} sequences takes {size / 1e9:,.1f} GB, which cannot be had on {device} "
            f"({error}); choose fewer with --sequences"
        ) from error


def _allocated(shape: tuple[int, ...], state: State, size: int, device: Device) -> ort.OrtValue:
    if device == "CUDA":
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(state.dtype), "cuda", 0)
    if sys.platform != "linux":
        return ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, state.dtype))
    memory = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return ort.OrtValue.ortvalue_from_numpy(np.frombuffer(memory, state.dtype, prod(shape)).reshape(shape))


def _session(model: onnx.ModelProto, device: Device, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = ERROR_LEVEL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if device == "CUDA" else ["CPUExecutionProvider"]
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers)
    except Exception as error:  # the runtime's exceptions share no base but this
        raise ConfigurationError(f"the runtime cannot load the model: {error}") from error
