"""A peer's process, played by a web server of three lines."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest

from headrace.bench.peers.child import Ports, child
from headrace.bench.peers.usage import family

SERVER = """
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


#: The same, in a process of its own that nobody ends.
PARENT = (
    f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SERVER!r}, sys.argv[1]], start_new_session=True)"
)


def test_it_is_there_while_the_block_runs(tmp_path: Path) -> None:
    (tmp_path / "v2" / "models" / "m" / "ready").mkdir(parents=True)
    ports = Ports.free()
    command = [sys.executable, "-c", SERVER, str(ports.http)]
    with child(command, ports, "m", folder=tmp_path, environment=os.environ) as running:
        assert (running.address, running.process.poll()) == (f"127.0.0.1:{ports.grpc}", None)
    assert running.process.returncode is not None
    assert "/v2/models/m/ready" in (tmp_path / "log").read_text()


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "v2" / "models" / "m" / "ready").mkdir(parents=True)
    ports = Ports.free()
    command = [sys.executable, "-c", PARENT, str(ports.http)]
    with child(command, ports, "m", folder=tmp_path, environment=os.environ) as running:
        (_, server) = family(running.process.pid)
        handle = os.pidfd_open(server)
    ended, _, _ = select.select([handle], [], [], 30)  # readable when it has
    os.close(handle)
    assert ended


def test_one_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        pytest.raises(RuntimeError, match=r"not ready; see .*log"),
        child(command, Ports.free(), "m", folder=tmp_path, environment=os.environ),
    ):
        raise AssertionError("it was taken for a server")
    assert "no such model" in (tmp_path / "log").read_text()
