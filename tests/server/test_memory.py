"""Arenas with the state of a fresh sequence at their end; parts of a block."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import ConfigurationError
from headrace.server.memory import ALIGNED, HostBlock, arena, layout, view
from headrace.server.pieces import whole
from headrace.spec import State

STATE = State(name="h", input="h", output="h_out", dtype="float32", shape=(2,), initial=(1.0, 2.0))


def test_the_last_slot_holds_the_initial_state() -> None:
    assert arena(whole(STATE), 3, "CPU").numpy().tolist() == [[0, 0], [0, 0], [1, 2]]


def test_memory_that_cannot_be_had_is_told_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"state h of \d+ sequences takes .* GB.*--sequences"):
        arena(whole(STATE), 1 << 58, "CPU")


def test_parts_of_a_block_do_not_overlap_and_begin_where_a_device_may_read() -> None:
    parts = [
        (np.dtype(np.float32), (3, 5)),
        (np.dtype(np.bool_), (7,)),
        (np.dtype(np.int64), (0,)),
        (np.dtype("i8"), (2,)),
    ]
    offsets, size = layout(parts)
    block = HostBlock(size)
    views = [view(block, offset, cells) for offset, cells in zip(offsets, parts, strict=True)]
    for number, each in enumerate(views):
        each[...] = number % 2
    assert [(v.dtype, v.shape) for v in views] == parts
    assert [set(v.ravel().tolist()) for v in views] == [{0}, {1}, set(), {1}]
    assert all(offset % ALIGNED == 0 for offset in offsets) and len(block.host) == size
