"""The engine against the exported file itself, run plainly with states as arrays: same outputs, same states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from rich.console import Console

from headrace.contract import read_model
from headrace.errors import ModelFailed
from headrace.export import export_model
from headrace.server.batch import Batch
from headrace.server.engine import OnnxEngine
from headrace.server.prepared import KEPT
from headrace.server.sequences import FRESH
from headrace.server.steps import Array
from headrace.spec import LENGTHS, ModelSpec
from headrace.training.models import Config, RecurrentClassifier, build

ROWS, SLOTS, FEATURES = 4, 10, 3
RECURRENT: Config = {"architecture": "recurrent-classifier", "features": FEATURES, "hidden": 6, "labels": ["a", "b"]}
FAMILY: dict[str, Config] = {
    "lstm-1": RECURRENT | {"kind": "lstm", "layers": 1},
    "lstm-3": RECURRENT | {"kind": "lstm", "layers": 3},
    "lstm-2-learned": RECURRENT | {"kind": "lstm", "layers": 2, "learned": True},
    "lstm-2-projected": RECURRENT | {"kind": "lstm", "layers": 2, "projection": 4},
    "gru-1-learned": RECURRENT | {"kind": "gru", "layers": 1, "learned": True},
    "gru-2": RECURRENT | {"kind": "gru", "layers": 2},
    "rnn-3": RECURRENT | {"kind": "rnn", "layers": 3},
    "window": {"architecture": "autoregressive-forecaster", "order": 5},
}


class Plain:
    """The file as it was exported: one call a tick, a row's states looked up and put back by hand."""

    def __init__(self, graph: onnx.ModelProto, spec: ModelSpec, slots: int = SLOTS) -> None:
        self.spec = spec
        self.session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        self.states = {s.name: np.full((slots, *s.shape), np.nan, s.dtype) for s in spec.states}

    def run(self, batch: Batch) -> tuple[Array, ...]:
        feed = dict(zip((i.name for i in self.spec.inputs), batch.values, strict=True)) | {LENGTHS: batch.lengths}
        for state in self.spec.states:
            feed[state.input] = self.states[state.name][batch.read]
            feed[state.input][batch.fresh] = state.cells()
        outputs, ends = [o.name for o in self.spec.outputs], [s.output for s in self.spec.states]
        results = self.session.run([*outputs, *ends], feed)
        for state, end in zip(self.spec.states, results[len(outputs) :], strict=True):
            self.states[state.name][batch.write] = end
        return tuple(results[: len(outputs)])


def exported(folder: Path, name: str) -> tuple[onnx.ModelProto, ModelSpec]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(FAMILY[name]).eval()
        for start in model.begin.values() if isinstance(model, RecurrentClassifier) else ():
            start.data.normal_()
    export_model(model, model.describe(name), folder, version="1", quick=True, console=Console(quiet=True))
    return read_model(folder / name / "1" / "model.onnx")


def ticks(spec: ModelSpec, count: int) -> list[Batch]:
    """Of the same rows: lengths of one, ragged ones, and the same lengths again; the second row begins anew."""
    rng, ones = np.random.default_rng(0), np.ones(ROWS, np.int64)
    here, there = np.arange(ROWS), np.arange(ROWS) + ROWS
    found = []
    for n in range(count):
        lengths = ones if n % 3 else np.array([3, 1, 2, 5][:ROWS])
        values = tuple(rng.standard_normal((int(lengths.sum()), *i.shape)).astype(i.dtype) for i in spec.inputs)
        fresh = np.full(ROWS, n == 0) | (np.arange(ROWS) == 1) & (n == 4)
        found.append(Batch(values, lengths, here, there, fresh))
        here, there = there, here
    return found


@pytest.mark.parametrize("name", FAMILY)
def test_ticks_give_what_the_plain_file_gives(name: str, tmp_path: Path) -> None:
    graph, spec = exported(tmp_path, name)
    engine, plain = OnnxEngine(graph, spec, SLOTS, "CPU"), Plain(graph, spec)
    for batch in ticks(spec, 9):
        outcome, expected = engine.run(batch), plain.run(batch)
        assert outcome.sound.all() and outcome.compute_cpu > 0
        for ours, theirs in zip(outcome.outputs.cells, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
        for state in spec.states:
            ours, theirs = engine.arena(state.name), plain.states[state.name]
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours[batch.write], theirs[batch.write], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("few", [False, True], ids=["all", "last"])
@pytest.mark.parametrize("name", ["tiny-lstm", "tiny-encoder"], ids=["of tokens", "of rows"])
def test_results_are_not_written_over_by_the_next_call(name: str, few: bool, models: Path) -> None:
    """few: of each row's last token alone outputs are asked for."""
    graph, spec = read_model(models / name / "1/model.onnx")
    engine, (first, second, *_) = OnnxEngine(graph, spec, SLOTS, "CPU"), ticks(spec, 2)
    kept = engine.run(replace(first, asked=np.ones(ROWS, np.int64)) if few else first)
    before = [cells.copy() for cells in kept.outputs.cells]
    engine.run(second)
    for ours, theirs in zip(kept.outputs.cells, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_more_kinds_of_batches_than_are_kept_prepared_give_the_same(models: Path) -> None:
    graph, spec = read_model(models / "tiny-gru/1/model.onnx")
    engine, plain = OnnxEngine(graph, spec, SLOTS, "CPU"), Plain(graph, spec)
    one, rng = np.ones(1, np.int64), np.random.default_rng(0)
    for length in [*range(1, KEPT + 3), 1]:
        values = (rng.standard_normal((length, FEATURES)).astype(np.float32),)
        batch = Batch(values, one * length, one * (length % 2), one * ((length + 1) % 2), np.full(1, length == 1))
        np.testing.assert_allclose(engine.run(batch).outputs.cells[0], plain.run(batch)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, FEATURES), (ROWS, FEATURES + 1)], ids=["one row for all", "one feature more"])
def test_values_of_another_shape_are_refused(shape: tuple[int, ...], models: Path) -> None:
    graph, spec = read_model(models / "tiny-gru/1/model.onnx")
    engine, rows = OnnxEngine(graph, spec, SLOTS, "CPU"), np.arange(ROWS)
    wrong = Batch((np.zeros(shape, np.float32),), rows * 0 + 1, rows, rows + ROWS, rows >= 0)
    with pytest.raises(ModelFailed, match="refused"):
        engine.run(wrong)


def test_values_of_another_dtype_are_refused(models: Path) -> None:
    graph, spec = read_model(models / "tiny-gru/1/model.onnx")
    engine, one = OnnxEngine(graph, spec, SLOTS, "CPU"), np.ones(1, np.int64)
    with pytest.raises(ModelFailed, match="refused"):
        engine.run(Batch((np.zeros((1, FEATURES)),), one, one, one * 2, one > 0))


@pytest.mark.parametrize("name", ["lstm-3", "gru-1-learned", "window"])
def test_forks_go_on_from_the_state_that_they_were_given(name: str, tmp_path: Path) -> None:
    graph, spec = exported(tmp_path, name)
    engine, (first, second, *_) = OnnxEngine(graph, spec, SLOTS, "CPU"), ticks(spec, 2)
    engine.run(first)
    engine.fork(0, 4, 3, np.array([7, 8, 9]), np.array([8, 9, 7]))  # the first row's state, after three steps
    for state in spec.states:
        cells = engine.arena(state.name)
        assert np.array_equal(cells[[7, 8, 9]], cells[[4, 4, 4]]) and not np.array_equal(cells[4], cells[5])
    row = tuple(np.repeat(values[:1], ROWS, 0) for values in second.values)
    spread = np.array([4, 7, 8, 9])
    y = engine.run(Batch(row, second.lengths, spread, np.arange(ROWS), second.fresh)).outputs.cells[0]
    np.testing.assert_allclose(y, y[:1].repeat(ROWS, 0), rtol=1e-6)


def test_a_fork_of_a_sequence_without_a_state_has_none(models: Path) -> None:
    graph, spec = read_model(models / "tiny-gru/1/model.onnx")
    engine, (first, *_) = OnnxEngine(graph, spec, SLOTS, "CPU"), ticks(spec, 1)
    engine.run(first)
    before = engine.arena(spec.states[0].name).copy()
    engine.fork(0, FRESH, 0, np.array([1]), np.array([5]))
    np.testing.assert_array_equal(engine.arena(spec.states[0].name), before)


def test_without_caches_nothing_is_kept_by_number(models: Path) -> None:
    graph, spec = read_model(models / "tiny-gru/1/model.onnx")
    engine, one = OnnxEngine(graph, spec, SLOTS, "CPU"), np.ones(1, np.int64)
    engine.forget(one)
    with pytest.raises(ModelFailed, match="has no start graph"):
        engine.begin(one, (), one)
