"""Neutral nodes, and the same attention in standard operators: incremental equals whole, and what is wrong shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rich.console import Console
from torch.nn.functional import scaled_dot_product_attention

from headrace.contract import check
from headrace.errors import ConfigurationError
from headrace.export.caches import CACHED, CROSS, DOMAIN, neutral, plain
from headrace.export.decode import Loop
from headrace.export.kept import CELLS, as_states, plainly
from headrace.export.parity import LIGHT, TOLERANCE, strain, verify
from headrace.export.runners import runtime
from headrace.export.streams import Named, Runner
from headrace.spec import FILLED, LENGTHS, PAST, Cache, Chunk, Input, ModelSpec, Output
from headrace.training.models import Decoder, SequenceModel

from .decoders import (
    Ids,
    decoder,
    decoder_graph,
    decoder_loop,
    start_graph,
    translator,
    translator_graph,
    windowed,
    windowed_graph,
    windowed_loop,
)

Logits = NDArray[np.float32]


def texts(*lengths: int) -> list[Ids]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 6, n) for n in lengths]


@torch.no_grad()
def alone(text: Ids, model: Decoder | None = None) -> Logits:
    """The truth: one sequence, whole, in eager PyTorch."""
    model = model or decoder()
    y, _ = model(torch.from_numpy(text), torch.tensor([len(text)]), model.initial_state(1))
    logits: Logits = y.numpy()
    return logits


def streamed(loop: Loop, rows: list[Ids], sizes: list[int]) -> list[Logits]:
    """Sequences of one length side by side, in chunks of `sizes`."""
    decoding, parts = loop.open(len(rows)), []
    for part in np.split(np.arange(len(rows[0])), np.cumsum(sizes)[:-1]):
        parts.append(decoding.step([row[part] for row in rows]).reshape(len(rows), len(part), -1))
    return list(np.concatenate(parts, 1))


def error(got: list[Logits], rows: list[Ids], model: Decoder | None = None) -> float:
    want = [alone(row, model) for row in rows]
    return float(max(np.abs(g - w).max() / np.abs(w).max() for g, w in zip(got, want, strict=True)))


def test_the_graph_names_its_caches_and_carries_none() -> None:
    spec, graph = decoder().describe("decoder"), decoder_graph()
    nodes = neutral(graph)
    assert [node.op_type for node in nodes] == [CACHED] * 2
    attributes = [{a.name: helper.get_attribute_value(a) for a in node.attribute} for node in nodes]
    assert [a["cache"].decode() for a in attributes] == [cache.name for cache in spec.caches] == ["layer0", "layer1"]
    assert {(a["heads"], a["kv_heads"], round(a["scale"], 5)) for a in attributes} == {(2, 2, round(8**-0.5, 5))}
    assert {a["window"] for a in attributes} == {0}
    assert [i.name for i in graph.graph.input] == ["tokens", LENGTHS, PAST]
    assert [o.name for o in graph.graph.output] == ["logits"]
    check(graph, spec)
    onnx.checker.check_model(graph, full_check=True)


def test_a_source_is_looked_at_by_nodes_of_their_own() -> None:
    graph = translator_graph()
    assert [node.op_type for node in neutral(graph)] == [CACHED, CROSS] * 2
    assert [i.name for i in graph.graph.input] == ["tokens", LENGTHS, PAST, FILLED]
    assert [o.name for o in start_graph().graph.output] == [
        "cross0.keys",
        "cross0.values",
        "cross1.keys",
        "cross1.values",
    ]


def test_plain_has_standard_operators_alone() -> None:
    graph = plain(decoder_graph(), decoder().describe("decoder"))
    assert {node.domain for node in graph.graph.node} == {""} and not graph.functions
    onnx.checker.check_model(graph, full_check=True)
    shapes = {i.name: [d.dim_value or d.dim_param for d in i.type.tensor_type.shape.dim] for i in graph.graph.input}
    assert shapes["layer1.values"] == ["rows", "layer1.cells", 2, 8]


@pytest.mark.parametrize("sizes", [[1] * 12, [12], [5, 1, 6], [1, 11]], ids=str)
def test_chunks_of_any_length_give_what_the_whole_gives(sizes: list[int]) -> None:
    rows = texts(12, 12, 12)
    assert error(streamed(decoder_loop(), rows, sizes), rows) < TOLERANCE


def test_rows_of_different_lengths_and_pasts_share_a_step() -> None:
    rows = texts(9, 17, 4)
    decoding, got = decoder_loop().open(3), [np.zeros((0, 6), np.float32)] * 3
    for counts in ([1, 6, 2], [7, 1, 1], [1, 10, 1]):
        steps = [row[len(g) : len(g) + n] for row, g, n in zip(rows, got, counts, strict=True)]
        logits = np.split(decoding.step(steps), np.cumsum(counts)[:-1])
        got = [np.concatenate([g, y]) for g, y in zip(got, logits, strict=True)]
    assert error(got, rows) < TOLERANCE


@pytest.mark.parametrize("sizes", [[1] * 12, [12], [5, 1, 6], [2, 10]], ids=str)
def test_a_window_slides_the_same_in_chunks_of_any_length(sizes: list[int]) -> None:
    rows = texts(12, 12)
    assert error(streamed(windowed_loop(), rows, sizes), rows, windowed()) < TOLERANCE


def test_a_graph_without_its_window_shows() -> None:
    graph, spec, rows = onnx.ModelProto(), windowed().describe("windowed"), texts(12, 12)
    graph.CopyFrom(windowed_graph())
    for node in neutral(graph):
        (about,) = [a for a in node.attribute if a.name == "window"]
        assert about.i == 3
        about.i = 4
    assert error(streamed(Loop.of(graph, spec), rows, [4, 4, 4]), rows, windowed()) > 0.05


def test_a_windowed_sequence_goes_on_for_ever() -> None:
    (row,) = texts(100)
    assert windowed_loop().spec.longest is None
    assert error(streamed(windowed_loop(), [row], [1, 40, 3, 56]), [row], windowed()) < TOLERANCE


MODELS = {
    "decoder": (decoder, decoder_graph),
    "translator": (translator, translator_graph),
    "windowed": (windowed, windowed_graph),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_parity_grid_holds_and_can_fail(name: str, console: Console) -> None:
    model, graph = (make() for make in MODELS[name])
    assert isinstance(model, SequenceModel) and isinstance(graph, onnx.ModelProto)
    report = verify(model, graph, model.describe("tiny"), grid=LIGHT, console=console)
    assert report.parity.error < TOLERANCE
    assert {"state forgotten", "lengths misplaced"} == set(report.controls)
    assert min(report.controls.values()) > 0.1


def test_enlarged_weights_agree_too(console: Console) -> None:
    assert 0 < strain(translator(), translator().describe("tiny"), console=console) < TOLERANCE


KINDS = {"keys": "values", "values": "keys"}
LAYERS = {"layer0": "layer1", "layer1": "layer0"}


def cells(feed: Named) -> Named:
    return {name: values for name, values in feed.items() if name.split(".")[-1] in KINDS}


def forgotten(feed: Named) -> Named:
    return {name: np.zeros_like(values) for name, values in cells(feed).items()}


def swapped_kinds(feed: Named) -> Named:
    return {f"{name.split('.')[0]}.{KINDS[name.split('.')[1]]}": values for name, values in cells(feed).items()}


def swapped_layers(feed: Named) -> Named:
    return {f"{LAYERS[name.split('.')[0]]}.{name.split('.')[1]}": values for name, values in cells(feed).items()}


def swapped_rows(feed: Named) -> Named:
    return {name: values[::-1].copy() for name, values in cells(feed).items()}


def miscounted(feed: Named) -> Named:
    return {PAST: np.maximum(feed[PAST].astype(np.int64) - 1, 0)}


@pytest.mark.parametrize("mistake", [forgotten, swapped_kinds, swapped_layers, swapped_rows, miscounted])
def test_a_mistake_with_the_cells_shows(mistake: Callable[[Named], Named]) -> None:
    rows, spec = texts(12, 12), decoder().describe("decoder")
    run = runtime(plain(decoder_graph(), spec))
    wrong = Loop(spec, lambda feed: run(feed | mistake(feed)))
    assert error(streamed(wrong, rows, [4, 4, 4]), rows) > 0.05


def test_cells_that_are_not_in_use_do_not_matter() -> None:
    rows, spec = texts(12, 12), decoder().describe("decoder")
    run = runtime(plain(decoder_graph(), spec))

    def noisy(feed: Named) -> Named:
        noise = {n: np.concatenate([c, np.full_like(c[:, :1], 1e9).repeat(3, 1)], 1) for n, c in cells(feed).items()}
        return run(feed | noise)

    assert error(streamed(Loop(spec, noisy), rows, [1, 4, 7]), rows) < TOLERANCE


def test_heads_of_queries_may_share_those_of_keys() -> None:
    """Four heads of queries to two of keys and values."""
    rng, rows = np.random.default_rng(0), [3, 2]
    q, k, v = (rng.standard_normal((5, width), np.float32) for width in (12, 6, 6))
    none = np.zeros((2, 0, 2, 3), np.float32)
    counts = {LENGTHS: np.array(rows), PAST: np.zeros(2, np.int64)}
    got = grouped()({"q": q, "k": k, "v": v, **counts, "c.keys": none, "c.values": none})["y"]
    heads = [torch.from_numpy(t).view(1, 5, -1, 3).transpose(1, 2).split(rows, 2) for t in (q, k, v)]
    want = [scaled_dot_product_attention(*row, is_causal=True, enable_gqa=True) for row in zip(*heads, strict=True)]
    np.testing.assert_allclose(got, torch.cat([w[0].transpose(0, 1).flatten(1) for w in want]).numpy(), atol=1e-5)


def grouped() -> Runner:
    """A graph of one node, in ONNX Runtime."""
    node = helper.make_node(
        CACHED, ["q", "k", "v", LENGTHS, PAST], ["y"], domain=DOMAIN, cache="c", heads=4, kv_heads=2, scale=3**-0.5
    )
    floats = {"q": ["tokens", 12], "k": ["tokens", 6], "v": ["tokens", 6]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in floats.items()]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"]) for name in (LENGTHS, PAST)]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tokens", 12])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    made = helper.make_model(helper.make_graph([node], "one", inputs, [output]), opset_imports=opsets, ir_version=10)
    taken = tuple(Input(name=name, dtype="float32", shape=(int(shape[1]),)) for name, shape in floats.items())
    spec = ModelSpec(
        name="grouped",
        inputs=taken,
        outputs=(Output(name="y", dtype="float32", shape=(12,), time=True),),
        caches=(Cache(name="c", heads=2, width=3),),
        longest=8,
        chunk=Chunk(longest=8),
    )
    return runtime(plain(made, spec))


def test_a_cache_that_the_spec_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the graph has a cache layer0, the spec has none"):
        plain(decoder_graph(), translator().describe("other"))


def test_a_model_without_caches_stays_as_it_is() -> None:
    graph, spec = start_graph(), translator().describe("translator").started()
    assert plainly(graph, spec) == (graph, spec)


def test_caches_become_states_with_room() -> None:
    states = {s.name: s for s in as_states(translator().describe("t")).states}
    assert states["self0.keys"].shape == (CELLS, 2, 8) and states["self0.keys"].initial == 0.0
    assert states[FILLED].initial == 5 and np.ptp(states["cross1.values"].cells()) > 1
