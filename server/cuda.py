"""The few calls of the CUDA Runtime API that move a tick's cells between this process and the GPU.

Addresses are whole numbers. Each raises OSError with CUDA's code if the driver refuses.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

TO_DEVICE, TO_HOST = 1, 2
"""cudaMemcpyKind."""


class Cuda(Protocol):
    def pin(self, address: int, size: int) -> None:
        """The host's memory there can be read by the GPU itself."""

    def unpin(self, address: int) -> None: ...

    def allocate(self, size: int) -> int:
        """The address of so many bytes on the GPU."""

    def free(self, address: int) -> None: ...

    def copy(self, to: int, of: int, size: int, kind: int) -> None:
        """Returns when it is done."""


class CudaRuntime:
    """Of the first GPU, by the library that ONNX Runtime uses too."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcudart.so.13")

    def pin(self, address: int, size: int) -> None:
        _check(self._library.cudaHostRegister(ctypes.c_void_p(address), ctypes.c_size_t(size), 0))

    def unpin(self, address: int) -> None:
        _check(self._library.cudaHostUnregister(ctypes.c_void_p(address)))

    def allocate(self, size: int) -> int:
        found = ctypes.c_void_p()
        _check(self._library.cudaMalloc(ctypes.byref(found), ctypes.c_size_t(size)))
        return found.value or 0

    def free(self, address: int) -> None:
        _check(self._library.cudaFree(ctypes.c_void_p(address)))

    def copy(self, to: int, of: int, size: int, kind: int) -> None:
        _check(self._library.cudaMemcpy(ctypes.c_void_p(to), ctypes.c_void_p(of), ctypes.c_size_t(size), kind))


def _check(code: int) -> None:
    if code:
        raise OSError(f"CUDA error {code}")
