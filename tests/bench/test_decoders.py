"""A decoder's ticks: they are measured as they are said to be, and the parts alone are those parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.bench.decoder import HEADS, LAYERS, LONGEST, WIDTH
from headrace.bench.decoder_lane import figure, one, outside
from headrace.bench.decoder_parts import Operator, linear, without_attention
from headrace.bench.decoders import MIXED, OF_CELLS, PASTS, ROWS, SHORT, Ticks, memory, mixed, picture
from headrace.contract import read_model
from headrace.export.caches import neutral


@pytest.fixture(scope="module")
def ticks(exported: Path) -> Ticks:
    return Ticks(exported)


def test_lengths_are_mixed_from_the_shortest_to_the_longest() -> None:
    lengths = mixed(64)
    assert (lengths.min(), lengths.max()) == (SHORT, LONGEST - 1)
    assert abs(lengths.mean() - mixed(1)[0]) < 10


def test_a_tick_is_the_same_every_time_and_its_cost_grows_with_what_is_behind_its_rows(ticks: Ticks) -> None:
    costs = {}
    for past in (SHORT, LONGEST - 1):
        tick = ticks.of(np.full(8, past))
        held = [(tick(), ticks.engine.bytes)[1] for _ in range(3)]
        assert held == [(LONGEST - 1 + 8 * (past + 1)) * ticks.engine.cell_bytes] * 3
        costs[past] = min(tick() for _ in range(5))
        ticks.forget(8)
    assert costs[LONGEST - 1] > 2 * costs[SHORT]
    assert ticks.engine.bytes == (LONGEST - 1) * ticks.engine.cell_bytes


def test_no_sequence_can_be_longer_than_the_longest(ticks: Ticks) -> None:
    with pytest.raises(Exception, match="fewer cells"):
        ticks.of(np.array([LONGEST]))


def test_without_attention_all_else_is_left(exported: Path) -> None:
    graph, _ = read_model(exported)
    left = without_attention(graph)
    assert len(neutral(graph)) == LAYERS and neutral(left) == []
    products = [node for node in left.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert len(products) == sum(node.op_type in ("MatMul", "Gemm") for node in graph.graph.node) >= 4 * LAYERS
    assert linear(exported, 3)() > 0


def test_the_operator_alone_writes_behind_the_cells_in_use_and_nowhere_else(exported: Path) -> None:
    past = np.array([3, 5])
    alone = Operator(exported, past)
    assert alone() > 0
    for tensor in alone.cells.tensors:
        assert tensor.cells.shape == (2, HEADS, LONGEST, WIDTH // HEADS)
        used = np.abs(tensor.cells).sum((1, 3)) > 0  # [rows, cells]
        assert used.sum(1).tolist() == [4, 6]  # what was there, and one more


def test_short_sequences_keep_no_more_than_their_cells(exported: Path) -> None:
    found = memory(exported)
    assert 0.9 < found.value <= OF_CELLS and "128" in found.note


def test_running_texts_wait_for_no_more_than_a_part_of_the_prompt(exported: Path) -> None:
    usual, longest, alone = one(exported, 160)
    assert 0 < usual < longest and alone > 0


def test_a_tick_costs_more_than_what_the_runtime_does(exported: Path) -> None:
    own, whole = outside(exported, 2)
    assert 0 < own < whole


def test_what_is_added_is_told_in_ticks_of_the_prompt_alone() -> None:
    said = figure(512, [(2.0, 5.0, 3.0), (2.0, 11.0, 3.0), (2.0, 2.0, 3.0)])
    assert said.value == 1.0 and said.reached
    assert not figure(512, [(2.0, 5.1, 3.0)]).reached


def test_both_curves_are_drawn(tmp_path: Path) -> None:
    picture({rows: [1e-3] * len(PASTS) for rows in ROWS}, [1e-3] * len(MIXED), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
