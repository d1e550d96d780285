"""What this machine is: its processor, and how many cores this process may use."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

#: Of a container: microseconds of CPU time in each period, or "max", and the period.
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cpu_name(file: Path = CPUINFO) -> str:
    """Such as "AMD EPYC 9354"; where the system does not tell, its architecture."""
    found = re.search(r"^model name\s*:\s*(.+)$", _text(file), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def cores(quota: Path = QUOTA) -> int:
    """Cores that this process may use, by its affinity and its container's quota; one at least."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    limit = re.match(r"(\d+) (\d+)", _text(quota))
    return max(1, min(usable, int(limit[1]) // int(limit[2]))) if limit else usable


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
