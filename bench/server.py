"""A server in a process of its own, on free ports, for benchmarks, the demo and tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

LISTENING = re.compile(r"serving gRPC on (\S+), metrics on (\S+)")
ECHOING = re.compile(r"echoing on (\S+)()")

#: Seconds to drain.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """address "host:port" of gRPC; url of the metrics, empty if it has none; the process."""

    address: str
    metrics: str
    process: subprocess.Popen[str]


def serving(models: Path, options: Sequence[str] = (), log: Path | None = None) -> AbstractContextManager[Running]:
    """`headrace serve` on loopback while the block runs; then it is asked to drain and awaited.

    Raises RuntimeError with what it said if it does not start.
    """
    command = ["headrace", "serve", "--models", str(models), "--port", "0", "--metrics-port", "0", *options]
    return _running(command, LISTENING, log)


def echoing(width: int, *, tuned: bool = False) -> AbstractContextManager[Running]:
    """The echo of the same messages, `width` bytes to a row's answer, while the block runs.

    tuned: with one poller and uvloop, instead of `grpc.aio` as it comes.
    """
    return _running([f"headrace.bench.{'tuned_' if tuned else ''}echo", str(width)], ECHOING, None)


@contextmanager
def _running(command: Sequence[str], said: re.Pattern[str], log: Path | None) -> Iterator[Running]:
    """`python -m` the command, while the block runs, once its first line is as `said`: two groups, address and url."""
    with log.open("w") if log else nullcontext() as stderr:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        found = said.match(process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the server did not start; see {log or 'its standard error'}")
        yield Running(found[1], found[2], process)
    finally:
        process.stdout.close()
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """It may finish what it has begun. Raises TimeoutExpired if it does not, and it is ended all the same."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
