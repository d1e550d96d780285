"""Cells go with their sequences: into memory of their own and back, down, to the front, and away."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from headrace.server.caches.kinds import layout
from headrace.server.caches.places import NOWHERE
from headrace.server.caches.residents import ALIGNED, IDLE_BYTES, MOVE_BYTES, SPARE_BYTES, Residents
from headrace.server.memory import release

from .graphs import Case
from .test_cells import resident

WINDOW = Case(heads=8, kv_heads=4, width=16, window=5)


def residents(case: Case | None = None, rows: int = 4) -> Residents:
    return Residents(layout((case or Case()).spec, mmap.PAGESIZE), rows)


def write(of: Residents, numbers: list[int], past: int, count: int = 1) -> None:
    """A tick: each cell says whose it is, and of which time step."""
    many = np.array(numbers)
    rows = of.enter(many, many * 0 + past, many * 0 + count)
    for number, row in zip(numbers, rows.tolist(), strict=True):
        begin = past - int(of.places.base[0, number])
        for tensor in of.cells.tensors:  # [rows, heads, cells, width]
            tensor.cells[row, :, begin : begin + count] = (number * 1000 + past + np.arange(count))[:, None]


def steps(of: Residents, number: int) -> list[int]:
    """What the sequence's cells say; it must have a hot row."""
    row, base, held = of.places.row[number], of.places.base[0, number], of.places.held[number]
    found = {tuple(tensor.cells[row, h, : held - base, 0]) for tensor in of.cells.tensors for h in range(2)}
    assert len(found) == 1
    return [int(x) for x in found.pop()]


def test_who_leaves_comes_back_as_it_was() -> None:
    of = residents()
    write(of, [0, 1, 2, 3], 0, 3)
    write(of, [4, 5], 0)  # rows of 0 and 1
    assert of.places.row[[0, 1]].tolist() == [NOWHERE] * 2
    write(of, [1], 3)
    assert steps(of, 1) == [1000, 1001, 1002, 1003] and steps(of, 4) == [4000]


def test_cells_behind_the_past_do_not_come_along() -> None:
    of = residents()
    write(of, [0, 1, 2, 3], 0, 3)
    write(of, [4, 5, 6, 7], 0)
    write(of, [0], 2)  # taken back by one
    assert steps(of, 0) == [0, 1, 2]


def test_forks_share_what_lies_in_ordinary_memory() -> None:
    of = residents()
    write(of, [0], 0, 4)
    of.fork(0, 3, np.array([1, 2]))
    assert of.places.row[[1, 2]].tolist() == [NOWHERE] * 2
    write(of, [1], 3)
    write(of, [0], 4)
    write(of, [2], 3, 2)
    assert steps(of, 1) == [0, 1, 2, 1003] and steps(of, 2) == [0, 1, 2, 2003, 2004] and steps(of, 0)[-1] == 4


def test_a_window_comes_to_the_front_where_its_cells_end() -> None:
    of = residents(WINDOW)
    for past in range(100):
        write(of, [0], past)
        base = int(of.places.base[0, 0])
        assert past + 1 - base <= 32 and steps(of, 0) == list(range(base, past + 1))
    assert base > 60


def test_a_fork_slides_on_from_where_the_other_was() -> None:
    of = residents(WINDOW)
    for past in range(50):
        write(of, [0], past)
    of.fork(0, 50, np.array([1]))
    of.fork(0, 0, np.array([2]))
    write(of, [1], 50)
    write(of, [2], 0)
    assert steps(of, 1)[-2:] == [49, 1050] and steps(of, 2) == [2000] and steps(of, 0)[-1] == 49


def test_what_a_window_has_left_is_not_there() -> None:
    of = residents(WINDOW)
    for past in range(50):
        write(of, [0], past)
    with pytest.raises(ValueError, match="taken back behind"):
        write(of, [0], 3)


def test_a_sequence_far_up_moves_down_once_idle_rows_have_cost_as_much() -> None:
    of = residents(rows=8)
    write(of, list(range(8)), 0, 2)
    ticks = 0
    while of.places.row[7] == 7:
        write(of, [0, 7], 2)
        ticks += 1
    assert ticks == pytest.approx(MOVE_BYTES / IDLE_BYTES / 6, abs=2)
    assert of.places.row[[0, 7]].tolist() == [0, 1] and of.places.row[1] == NOWHERE
    assert steps(of, 7) == [7000, 7001, 7002]
    write(of, [1], 2)
    assert steps(of, 1) == [1000, 1001, 1002]


def test_rows_that_lie_together_far_up_stay() -> None:
    of = residents(rows=2 * ALIGNED)
    write(of, list(range(2 * ALIGNED)), 0, 2)
    for _ in range(100):
        write(of, list(range(ALIGNED, 2 * ALIGNED)), 2)
    assert of.places.row.tolist() == list(range(2 * ALIGNED))


def test_a_few_pages_are_kept_for_the_next_and_more_are_given_back() -> None:
    case = Case(kv_heads=64, heads=64, width=256)  # 5 MB a row
    of = residents(case, rows=16)
    write(of, list(range(16)), 0, 40)
    of.forget([0, 15])
    assert of.cells.tensors[0].cells[[0, 15], 0, 0, 0].tolist() == [0, 15000]
    of.forget(list(range(16)))
    kept = np.count_nonzero(of.cells.tensors[0].cells[:, 0, 5, 0])
    assert kept == SPARE_BYTES // (40 * 2 * 64 * 256 * 4) and of.bytes == 0
    assert of.cells.tensors[0].cells[15, 0, 5, 0] == 0  # the topmost first


def test_short_sequences_keep_a_few_pages_of_long_ones_and_give_back_more() -> None:
    of = residents(Case(kv_heads=64, heads=64, width=256), rows=16)  # 5 MB a row
    write(of, list(range(16)), 0, 40)
    write(of, list(range(16, 32)), 0)
    left = of.cells.tensors[0].cells[:, 0, 5, 0]
    assert np.count_nonzero(left) == SPARE_BYTES // (40 * 2 * 64 * 256 * 4)
    assert of.cells.tensors[0].cells[:, 0, 0, 0].tolist() == [1000 * number for number in range(16, 32)]
    write(of, list(range(16, 32)), 1, 39)  # which may be had once the others are in use
    write(of, [32], 0)
    assert np.count_nonzero(left) == 16


def test_whoever_was_never_there_is_forgotten_too() -> None:
    of = residents()
    of.forget([5])
    assert of.bytes == 0


def test_ordinary_memory_goes_back_to_the_system_though_some_of_it_is_in_use() -> None:
    of = residents(Case(heads=8, kv_heads=8, width=64), rows=2)
    release()  # what other tests have let go, or it would be taken here and not count
    last, before = (
        2 * SPARE_BYTES // (16 * of.cells.tensors[0].cells[0, :, 0].nbytes * len(of.cells.tensors)),
        resident(),
    )
    for number in range(0, last + 1, 2):
        write(of, [number, number + 1], 0, 16)
    held = resident() - before
    of.forget(range(last))
    assert held > 3 * SPARE_BYTES // 2 and resident() - before < held / 2
    write(of, [last], 16)
    assert steps(of, last) == [last * 1000 + time for time in range(17)]
