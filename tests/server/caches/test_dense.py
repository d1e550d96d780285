"""Ticks of one token a row take the short way, in any order and beside all others; and the graph for it is short."""

from __future__ import annotations

import mmap
from collections import Counter

import numpy as np
import onnx
import pytest

from headrace.export.rotary import plainly_turned
from headrace.server.caches.dense import dense
from headrace.server.caches.engine import CachedEngine
from headrace.server.caches.kinds import layout

from ...export.decoders import translator, translator_graph
from .driven import Driven
from .graphs import Case

TURNED = Case(width=16, turned=True)


def operators(graph: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in graph.graph.node)


def test_a_dense_graph_passes_the_checker_and_has_nothing_around_attention() -> None:
    made = dense(translator_graph(), layout(translator().describe("translator"), mmap.PAGESIZE))
    onnx.checker.check_model(made)
    found = operators(made)
    assert found["GroupQueryAttention"] == 4
    assert not {"ScatterND", "Loop", "Slice", "Rotary", "CachedAttention", "CrossAttention"} & set(found)


@pytest.mark.parametrize(
    ("case", "packed"),
    [(TURNED, True), (Case(turned=True), False), (Case(heads=4, kv_heads=2, width=16), False)],
    ids=["packed", "heads that the operator does not turn", "apart"],
)
def test_one_product_is_taken_whole_where_the_operator_can(case: Case, packed: bool) -> None:
    found = operators(dense(case.graph(), layout(case.spec, mmap.PAGESIZE)))
    assert found["Split"] == (case.turned and not packed)
    assert found["RotaryEmbedding"] == (2 if case.turned and not packed else 0)


def test_queries_and_keys_that_are_turned_unlike_each_other_are_not_taken_whole() -> None:
    graph = TURNED.graph()
    (turn,) = [node for node in graph.graph.node if node.output[0] == "k:turned"]
    turn.input[1] = "sine"
    assert operators(dense(graph, layout(TURNED.spec, mmap.PAGESIZE)))["RotaryEmbedding"] == 2


def test_a_file_without_rotary_nodes_is_served_alike() -> None:
    """Files of earlier versions turn by standard operators."""
    case, steps = TURNED, np.random.default_rng(0).standard_normal((6, 5), np.float32)
    older = plainly_turned(case.graph())
    assert "Rotary" not in operators(older) and "RotaryEmbedding" not in operators(
        dense(older, layout(case.spec, 4096))
    )
    driven = Driven(case)
    driven.engine = CachedEngine(older, case.spec, 24, "CPU", rows=2)
    driven.open(0)
    for begin, end in ((0, 4), (4, 5), (5, 6)):
        outcome = driven.engine.run(driven.batch({0: steps[begin:end]}))
        driven.check({0: steps[begin:end]}, outcome)
        driven.texts[0] = steps[:end]


@pytest.mark.parametrize("case", [TURNED, Case(), Case(carried=True)], ids=["turned", "plain", "carried"])
def test_dense_ticks_and_others_take_turns_in_any_order(case: Case) -> None:
    driven = Driven(case, rows=4)
    for number in range(4):
        driven.open(number)
    driven.tick({2: 3, 0: 1, 3: 2, 1: 1})
    for lengths in ({3: 1, 1: 1, 0: 1, 2: 1}, {1: 1, 3: 1}, {0: 1}, {2: 4, 1: 1}, {0: 1, 1: 1, 2: 1, 3: 1}):
        driven.tick(lengths)
