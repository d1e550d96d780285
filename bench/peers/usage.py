"""What a server uses, all its processes together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..process import PROC, cpu_seconds


def family(process: int, proc: Path = PROC) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for id, parent in _parents(proc):
        children.setdefault(parent, []).append(id)
    found = [process]
    for each in found:  # grows while it is walked
        found += children.get(each, [])
    return found


def cpu(process: int, proc: Path = PROC) -> float:
    """Seconds on a core, of all threads that live."""
    return sum(cpu_seconds(each, proc) for each in family(process, proc))


def memory(process: int, proc: Path = PROC) -> int:
    """Bytes that are there; what processes share is counted once."""
    return sum(_proportional(proc / str(each) / "smaps_rollup") for each in family(process, proc))


def _proportional(file: Path) -> int:
    return next(int(line.split()[1]) << 10 for line in file.read_text().splitlines() if line.startswith("Pss:"))


def _parents(proc: Path) -> Iterator[tuple[int, int]]:
    """Of each process: its id, and its parent's."""
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                yield int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])
