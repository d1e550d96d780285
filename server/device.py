"""Which execution provider can really be used here. Asking for CUDA in vain would fill the log with errors."""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
from typing import Literal

import onnxruntime

from headrace.errors import ConfigurationError

log = logging.getLogger(__name__)

Device = Literal["CPU", "CUDA"]


def choose(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """The device to serve on. Raises ConfigurationError if CUDA is demanded and cannot be had."""
    if wanted == "cpu":
        return "CPU"
    missing = cuda_missing()
    if missing is None:
        return "CUDA"
    if wanted == "cuda":
        raise ConfigurationError(f"device is set to cuda, but {missing}; install it, or set device to auto")
    log.info("serving on the CPU: %s", missing)
    return "CPU"


def cuda_missing() -> str | None:
    """What stands in the way of CUDA, or None: the runtime's build, the driver, a device, or the libraries."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider"
    driver = _library("libcuda.so.1")
    if driver is None:
        return "there is no NVIDIA driver (libcuda.so.1)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the driver finds no usable GPU"
    onnxruntime.preload_dlls()  # finds the libraries of the nvidia-* packages, where they are installed
    absent = [name for name in ("libcudart.so.13", "libcublasLt.so.13", "libcudnn.so.9") if _library(name) is None]
    return f"these libraries are not installed: {', '.join(absent)}" if absent else None


def cuda_name() -> str:
    """What the first GPU calls itself; empty without a driver."""
    driver, name = _library("libcuda.so.1"), ctypes.create_string_buffer(128)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetName(name, len(name), 0) != 0:
        return ""
    return name.value.decode()


def _library(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def runtime_version() -> str:
    """Of ONNX Runtime."""
    version: str = onnxruntime.__version__
    return version
