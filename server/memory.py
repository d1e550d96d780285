"""Memory that the runtime works on: the arenas of states, and blocks for what goes in and comes out."""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.errors import ConfigurationError

from .cuda import TO_DEVICE, TO_HOST, Cuda, CudaRuntime
from .device import Device
from .pieces import Piece
from .steps import Array

ALIGNED = 256
"""Bytes: what CUDA asks of an address that any kernel may read."""

Cells = tuple[np.dtype[np.generic], tuple[int, ...]]
"""dtype and shape."""


class Block(Protocol):
    """Bytes that this process sees as `host` and the runtime finds at `address`."""

    host: NDArray[np.uint8]
    address: int

    def push(self, size: int) -> None:
        """What was written to the first `size` bytes of `host` is at `address`."""

    def pull(self, size: int) -> None:
        """The first `size` bytes at `address` are in `host`."""


class HostBlock:
    """On the CPU both are the same memory."""

    def __init__(self, size: int) -> None:
        self.host = np.empty(size, np.uint8)
        self.address = self.host.ctypes.data

    def push(self, size: int) -> None: ...

    def pull(self, size: int) -> None: ...


class CudaBlock:
    """Pinned memory with its double on the GPU, so that one copy moves all. Raises OSError if the driver refuses."""

    def __init__(self, size: int, cuda: Cuda) -> None:
        self._cuda, self.host = cuda, np.empty(size, np.uint8)
        self._pinned = self.host.ctypes.data
        cuda.pin(self._pinned, size)
        weakref.finalize(self, cuda.unpin, self._pinned)
        self.address = cuda.allocate(size)
        weakref.finalize(self, cuda.free, self.address)

    def push(self, size: int) -> None:
        self._cuda.copy(self.address, self._pinned, size, TO_DEVICE)

    def pull(self, size: int) -> None:
        self._cuda.copy(self._pinned, self.address, size, TO_HOST)


def block(size: int, device: Device) -> Block:
    """Raises OSError if it cannot be had."""
    return CudaBlock(size, CudaRuntime()) if device == "CUDA" else HostBlock(size)


def layout(parts: Sequence[Cells]) -> tuple[list[int], int]:
    """Where in a block each begins, and the bytes of all."""
    offsets, end = [], 0
    for dtype, shape in parts:
        offsets.append(end)
        end += -(-prod(shape) * dtype.itemsize // ALIGNED) * ALIGNED
    return offsets, end


def view(of: Block, offset: int, cells: Cells) -> Array:
    """A part of a block as an array."""
    dtype, shape = cells
    return of.host[offset : offset + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def arena(piece: Piece, slots: int, device: Device) -> ort.OrtValue:
    """Memory for `slots` states, [slots, *shape], on the device; the last holds the state of a fresh sequence.

    On Linux's CPU it is anonymous memory without huge pages: the kernel gives a page when a slot on it is first
    written, so that an arena for many sequences costs what its live ones need. Raises ConfigurationError if there is
    not so much memory.
    """
    shape, dtype = (slots, *piece.shape), np.dtype(piece.state.dtype)
    try:
        cells = _zeros(shape, dtype)
        cells[-1] = piece.cells()
        return ort.OrtValue.ortvalue_from_numpy(cells, device.lower(), 0)
    except Exception as error:  # of the system, numpy or the runtime, which share no base but this
        raise ConfigurationError(
            f"state {piece.name} of {slots} sequences takes {prod(shape) * dtype.itemsize / 1e9:,.1f} GB, which cannot "
            f"be had on {device} ({error}); choose fewer with --sequences"
        ) from error


def _zeros(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    if sys.platform != "linux":
        return np.zeros(shape, dtype)
    memory = mmap.mmap(-1, max(1, prod(shape) * dtype.itemsize), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype, prod(shape)).reshape(shape)


def release() -> None:
    """What was freed goes back to the system, 10 MB a millisecond: glibc keeps what lies below anything that is still
    in use (malloc_trim(3)). With another C library nothing happens."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
