"""Arenas cost the pages that are written, and give them back."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import ConfigurationError
from headrace.server.caches.cells import Cells, cut
from headrace.server.caches.kinds import Layout, layout

from .graphs import Case

LARGE = Case(heads=64, kv_heads=64, width=256)


def large() -> Layout:
    return layout(LARGE.spec, mmap.PAGESIZE)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_a_row_costs_what_is_written_of_it() -> None:
    cells, before = Cells(large(), 1000), resident()  # 5 GB of addresses
    cells.tensors[0].cells[500, :, :40] = 1
    row = cells.tensors[0].cells[500].nbytes
    assert row <= resident() - before < 3 * row
    cells.give_back(500)
    assert resident() - before < row / 2 and not cells.tensors[0].cells[500].any()


def test_rows_beside_one_that_is_given_back_stay() -> None:
    cells = Cells(layout(Case().spec, mmap.PAGESIZE), 3)
    for tensor in cells.tensors:
        tensor.cells[:] = 1
    cells.give_back(1)
    assert [bool(row.any()) for row in cells.tensors[1].cells] == [True, False, True]


def test_cells_are_taken_put_and_cut() -> None:
    of = layout(Case().spec, mmap.PAGESIZE)
    cells = Cells(of, 2)
    for number, tensor in enumerate(cells.tensors):
        tensor.cells[0] = np.arange(tensor.cells[0].size).reshape(tensor.cells[0].shape) + number
    parked = cells.taken(0, [5])
    cells.put(1, parked, [3])
    assert [part.shape for part in cut(parked, of, [2]).cells] == [(2, 2, 8)] * 2
    for tensor in cells.tensors:
        np.testing.assert_array_equal(tensor.cells[1, :, :3], tensor.cells[0, :, :3])
        assert not tensor.cells[1, :, 3:].any()


def test_cells_move_to_the_front_even_over_themselves() -> None:
    cells = Cells(layout(Case().spec, mmap.PAGESIZE), 1)
    for tensor in cells.tensors:
        tensor.cells[0] = np.arange(tensor.cells.shape[2])[:, None]
    cells.move(0, 0, 2, 6)
    assert {tuple(tensor.cells[0, 1, :6, 0].tolist()) for tensor in cells.tensors} == {(2, 3, 4, 5, 6, 7)}


def test_a_range_is_the_same_memory_and_made_once() -> None:
    cells = Cells(layout(Case().spec, mmap.PAGESIZE), 4)
    made = cells.range(1, 3)
    cells.tensors[1].cells[2] = 7
    assert made[1][1].numpy().shape == cells.tensors[1].cells[1:3].shape and (made[1][1].numpy()[1] == 7).all()
    assert cells.range(1, 3) is made and cells.range(0, 3) is not made


def test_no_room_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no room for the caches"):
        Cells(large(), 2**40)
