"""Cutting and driving, with a model that needs no torch: a running sum."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.export.streams import Batch, Cut, Grid, Named, alone, bounded, chunks, drive, initial, single, whole
from headrace.ragged import starts
from headrace.spec import LENGTHS, Chunk, Input, ModelSpec, Output, State

SPEC = ModelSpec(
    name="sum",
    inputs=(Input(name="x", dtype="float32"), Input(name="id", dtype="int64", vocabulary=4)),
    outputs=(
        Output(name="sums", dtype="float32", time=True),
        Output(name="total", dtype="float32", time=False),
    ),
    states=(State(name="s", input="s", output="s_out", dtype="float32", shape=(), initial=10.0),),
    chunk=Chunk(longest=30),
)


def running_sum(feed: Named) -> Named:
    lengths = np.asarray(feed[LENGTHS], np.int64)
    parts = np.split(np.asarray(feed["x"], np.float32), np.cumsum(lengths)[:-1])
    sums = [np.cumsum(part) + start for part, start in zip(parts, feed["s"], strict=True)]
    total = np.array([part[-1] for part in sums])
    return {"sums": np.concatenate(sums), "total": total, "s_out": total}


@pytest.mark.parametrize("cut", [alone, whole, single, bounded(whole, 2), chunks(np.random.default_rng(3))])
def test_every_cut_gives_the_running_sum(cut: Cut) -> None:
    lengths = np.array([3, 1, 6])
    x = np.arange(10, dtype=np.float32)
    got = drive(running_sum, SPEC, Batch({"x": x, "id": np.zeros(10, np.int64)}, lengths), cut)
    ends = starts(lengths) + lengths
    assert got["total"].tolist() == [10 + 3, 10 + 3, 10 + 39] == got["s_out"].tolist()
    assert got["sums"][ends - 1].tolist() == got["total"].tolist()
    assert got["sums"][:3].tolist() == [10, 11, 13]


def test_grid_holds_every_length_in_every_size() -> None:
    grid = Grid(sizes=(1, 7, 64), longest=20)
    found: dict[int, set[int]] = {1: set(), 7: set(), 64: set()}
    batches = list(grid.batches(SPEC, np.random.default_rng(0)))
    for batch in batches:
        found[len(batch.lengths)] |= set(batch.lengths.tolist())
        assert len(batch.inputs["x"]) == batch.lengths.sum()
        assert set(batch.inputs["id"].tolist()) <= {0, 1, 2, 3}
    assert all(lengths == set(range(1, 21)) for lengths in found.values())
    assert len(batches) == 20 + 3 + 1


@pytest.mark.parametrize(("chunk", "longest"), [(Chunk(longest=30, whole=True), 30), (Chunk(longest=30), 50)])
def test_only_whole_sequences_are_bounded_by_the_longest_chunk(chunk: Chunk, longest: int) -> None:
    batches = Grid(longest=50).batches(SPEC.model_copy(update={"chunk": chunk}), np.random.default_rng(0))
    assert max(int(batch.lengths.max()) for batch in batches) == longest


def test_bounded_cuts_take_no_longer_steps() -> None:
    chosen, lengths = bounded(whole, 3)(np.array([5, 0, 2]))
    assert chosen.tolist() == [0, 2] and lengths.tolist() == [3, 2]


def test_tokens_are_told_by_row_and_place() -> None:
    batch = Batch({}, np.array([2, 1, 3]))
    assert [batch.row(token) for token in range(6)] == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)]


def test_initial_state_may_name_every_cell() -> None:
    state = State(name="w", input="w", output="w_out", dtype="float32", shape=(2, 1), initial=(1.0, 2.0))
    assert initial(state, 2).tolist() == [[[1.0], [2.0]], [[1.0], [2.0]]]
