"""Steps a second on a GPU: states on the device against states on the host, and both against the device's limits.

The engine is the server's own, without the server around it: on a GPU the question is what the device allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from headrace.server.batch import Batch
from headrace.server.device import Device, cuda_missing, cuda_name
from headrace.server.engine import PROVIDERS, OnnxEngine

from .figures import Figure
from .gpu_models import MODELS, Job, job
from .roofline import Roof, Work

BATCHES = (1, 8, 64, 256, 1024, 4096)
SECONDS, ROUNDS = 0.5, 3
SIDE, STREAM = 8192, 1 << 28
"""Of the square matrices, and floats of the vector, by which a device's limits are measured."""


def gpu(results: Path, missing: Callable[[], str | None] = cuda_missing) -> list[Figure]:
    """No figures where there is no GPU, and it says so."""
    if reason := missing():
        print(f"no GPU: {reason}")
        return []
    roof = limits("CUDA", SIDE, STREAM)
    print(f"{cuda_name()}: {roof.rate / 1e12:.1f} Tflop/s float32, {roof.bandwidth / 1e9:,.0f} GB/s, both measured")
    found = [Figure("matrix rate, float32", roof.rate / 1e12, "Tflop/s", note=cuda_name())]
    found.append(Figure("memory bandwidth", roof.bandwidth / 1e9, "GB/s", note=cuda_name()))
    for name in MODELS:
        found += sweep(name, job(name, results / "models"), "CUDA", roof, BATCHES)
    return found


def limits(device: Device, side: int, stream: int) -> Roof:
    """Measured by one large product, and by one vector read and written."""
    product = _operator("MatMul", (side, side), 2, device)
    copy = _operator("Neg", (stream,), 1, device)
    return Roof(2 * side**3 / timed(product, SECONDS), 8 * stream / timed(copy, SECONDS))


def sweep(name: str, of: Job, device: Device, roof: Roof, batches: tuple[int, ...]) -> list[Figure]:
    """Both ways at each batch; a model without states or caches has one."""
    found = []
    for rows in batches:
        ways = {"on the device": resident(of, rows, device), "on the host": hosted(of, rows, device)}
        for place, call in ways.items() if of.kept else [("none", ways["on the device"])]:
            found.append(_figure(f"{name}, batch {rows}, state {place}", of, rows, call, roof))
    return found


def _figure(name: str, of: Job, rows: int, call: Callable[[], object], roof: Roof) -> Figure:
    seconds, work = timed(call, SECONDS), of.cost.of(rows, rows * of.length)
    note = f"{_share(work, roof, seconds)}; {1e6 * seconds:,.0f} µs a call of {of.length} time steps a row"
    return Figure(name, rows * of.length / seconds, "steps/s", note=note)


def _share(work: Work, roof: Roof, seconds: float) -> str:
    return f"{work.limit(roof) / seconds:.2f} of what the {work.bound(roof)} allows"


def timed(call: Callable[[], object], seconds: float) -> float:
    """Seconds of a call: the median of some rounds, after one that warms up."""
    call()
    return median(_round(call, seconds / ROUNDS) for _ in range(ROUNDS))


def _round(call: Callable[[], object], seconds: float) -> float:
    calls, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds or not calls:
        call()
        calls += 1
    return took / calls


def resident(of: Job, rows: int, device: Device) -> Callable[[], object]:
    """By the server's engine; a decoder, which it does not serve yet, by its plain graph with caches on the device."""
    if of.spec.caches:
        return _bound(of, rows, device)
    engine, feed = OnnxEngine(of.graph, of.spec, 2 * rows, device), of.feed(rows)
    slots, values = np.arange(rows), tuple(feed[given.name] for given in of.spec.inputs)
    batch = Batch(values, np.full(rows, of.length), slots, slots + rows, np.zeros(rows, np.bool_))
    return lambda: engine.run(batch)


def _bound(of: Job, rows: int, device: Device) -> Callable[[], object]:
    """Caches stay where they are, the new cells too; what else there is goes in and out."""
    session, feed = _session(of.graph, device), of.feed(rows)
    binding, place = session.io_binding(), device.lower()
    for name in (given.name for given in session.get_inputs()):
        on = place if name in of.kept else "cpu"
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(feed[name], on, 0))
    outputs = {output.name for output in of.spec.outputs}
    for name in (output.name for output in session.get_outputs()):
        binding.bind_output(name, "cpu" if name in outputs else place)
    return lambda: session.run_with_iobinding(binding)


def hosted(of: Job, rows: int, device: Device) -> Callable[[], object]:
    """Everything goes in and out at each call."""
    session, feed = _session(of.graph, device), of.feed(rows)
    given = {name: feed[name] for name in (each.name for each in session.get_inputs())}
    return lambda: session.run(None, given)


def _operator(kind: str, shape: tuple[int, ...], inputs: int, device: Device) -> Callable[[], object]:
    """One operator on the device's own memory."""
    info = helper.make_tensor_value_info
    names = [f"x{n}" for n in range(inputs)]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"])],
        kind,
        [info(name, TensorProto.FLOAT, shape) for name in names],
        [info("y", TensorProto.FLOAT, shape)],
    )
    session = _session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), device)
    binding = session.io_binding()
    for name in names:
        ones = ort.OrtValue.ortvalue_from_numpy(np.ones(shape, np.float32), device.lower(), 0)
        binding.bind_ortvalue_input(name, ones)
    binding.bind_output("y", device.lower())
    return lambda: session.run_with_iobinding(binding)


def _session(model: onnx.ModelProto, device: Device) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=PROVIDERS[device])
