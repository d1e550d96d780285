"""Arenas with the state of a fresh sequence at their end; parts of a block."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import dataclass, field

import numpy as np
import pytest

from headrace.errors import ConfigurationError
from headrace.server.cuda import TO_DEVICE
from headrace.server.memory import ALIGNED, CudaBlock, HostBlock, arena, layout, view
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


@dataclass
class FakeCuda:
    """A GPU whose memory is this process's."""

    full: bool = False
    devices: dict[int, np.ndarray] = field(default_factory=dict)
    pinned: set[int] = field(default_factory=set)

    def pin(self, address: int, size: int) -> None:
        if self.full:
            raise OSError("CUDA error 2")
        self.pinned.add(address)

    def unpin(self, address: int) -> None:
        self.pinned.remove(address)

    def allocate(self, size: int) -> int:
        memory = np.zeros(size, np.uint8)
        self.devices[memory.ctypes.data] = memory
        return memory.ctypes.data

    def free(self, address: int) -> None:
        del self.devices[address]

    def copy(self, to: int, of: int, size: int, kind: int) -> None:
        device, host = (to, of) if kind == TO_DEVICE else (of, to)
        assert device in self.devices and host in self.pinned
        ctypes.memmove(to, of, size)


def test_a_block_on_a_gpu_moves_by_one_copy_each_way_and_is_given_back() -> None:
    cuda = FakeCuda()
    block = CudaBlock(8, cuda)
    block.host[...] = 5
    block.push(4)
    assert cuda.devices[block.address].tolist() == [5, 5, 5, 5, 0, 0, 0, 0]
    cuda.devices[block.address][...] = 7
    block.pull(6)
    assert block.host.tolist() == [7, 7, 7, 7, 7, 7, 5, 5]
    del block
    gc.collect()
    assert not cuda.devices and not cuda.pinned


def test_a_gpu_that_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="CUDA error 2"):
        CudaBlock(8, FakeCuda(full=True))
