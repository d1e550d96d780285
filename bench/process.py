"""What another process uses, as the kernel counts it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def cpu_by_thread(process: int, proc: Path = PROC) -> dict[int, float]:
    """Seconds on a core, of each thread that lives, by its id; to the nanosecond."""
    spent = {}
    for thread in (proc / str(process) / "task").iterdir():
        with suppress(OSError):  # it ended meanwhile
            spent[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return spent


def cpu_seconds(process: int, proc: Path = PROC) -> float:
    """Of all threads that live."""
    return sum(cpu_by_thread(process, proc).values())


def resident(process: int, proc: Path = PROC) -> int:
    """Bytes of memory that are there, not only promised."""
    lines = (proc / str(process) / "status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))
