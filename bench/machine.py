"""Which machine, which versions, which day: figures say little without them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """date in UTC, to the minute; cores: those that this process may use."""

    date: str
    cpu: str
    cores: int
    python: str
    onnxruntime: str
    grpcio: str
    numpy: str

    @classmethod
    def here(cls) -> Machine:
        runtime = packages_distributions()["onnxruntime"][0]  # one of two wheels
        return cls(
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            cpu_model(),
            len(os.sched_getaffinity(0)),
            platform.python_version(),
            version(runtime),
            version("grpcio"),
            version("numpy"),
        )

    def __str__(self) -> str:
        return (
            f"{self.date} UTC; {self.cpu}, {self.cores} cores; Python {self.python}, ONNX Runtime {self.onnxruntime}, "
            f"grpcio {self.grpcio}, NumPy {self.numpy}"
        )


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """As the kernel names it; the architecture where it does not."""
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
