"""A server in a process of its own, on free ports, for benchmarks, the demo and tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LISTENING = re.compile(r"serving gRPC on (\S+), metrics on (\S+)")


@dataclass(frozen=True, slots=True)
class Running:
    """address "host:port" of gRPC; url of the metrics; the process."""

    address: str
    metrics: str
    process: subprocess.Popen[str]


@contextmanager
def serving(models: Path, options: Sequence[str] = (), log: Path | None = None) -> Iterator[Running]:
    """`headrace serve` on loopback while the block runs; then it is asked to drain and awaited.

    Raises RuntimeError with what it said if it does not start.
    """
    command = [sys.executable, "-m", "headrace", "serve", "--models", str(models), "--port", "0", "--metrics-port", "0"]
    with log.open("w") if log else _nowhere() as stderr:
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        found = LISTENING.match(process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the server did not start; see {log or 'its standard error'}")
        yield Running(found[1], found[2], process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        process.wait(60)


@contextmanager
def _nowhere() -> Iterator[None]:
    yield None
