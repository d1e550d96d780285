"""A peer's process: started, awaited until its model is ready, and ended by its own handle."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..server import Running
from .usage import family

#: Seconds to start, between two looks, and to end when asked.
START, LOOK, END = 60.0, 0.1, 15.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Of loopback, free when asked for; for servers that do not take a port of 0."""

    grpc: int
    http: int

    @classmethod
    def free(cls) -> Ports:
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(("127.0.0.1", 0))
            return cls(one.getsockname()[1], other.getsockname()[1])


@contextmanager
def child(
    command: Sequence[str], ports: Ports, model: str, *, folder: Path, environment: Mapping[str, str]
) -> Iterator[Running]:
    """Runs a server of the Open Inference Protocol in `folder` while the block runs; its log is `folder/log`.

    Raises RuntimeError if its model is not ready in time.
    """
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=dict(environment), text=True
        )
    try:
        _await(process, f"http://127.0.0.1:{ports.http}/v2/models/{model}/ready", folder / "log")
        yield Running(f"127.0.0.1:{ports.grpc}", "", process)
    finally:
        _end(process)


def _await(process: subprocess.Popen[str], url: str, log: Path) -> None:
    """Asks again and again, for these servers tell nobody when they are ready. Over HTTP: gRPC would make threads in
    this process, on the server's core, and the load would use them."""
    until = time.monotonic() + START
    while not _ready(url):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{url}: not ready; see {log}")
        time.sleep(LOOK)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[str]) -> None:
    """Asked, and killed if it does not do it: one that has crashed may hang. What it started may outlive it."""
    started = list(_handles(family(process.pid)))
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END)
    for handle in started:
        with suppress(ProcessLookupError):  # it ended, as it should
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
    process.wait()


def _handles(processes: Sequence[int]) -> Iterator[int]:
    """Of those that live, and of no others that get their numbers later."""
    for process in processes:
        with suppress(ProcessLookupError):
            yield os.pidfd_open(process)
