"""Each case in a process of its own: gRPC reads its environment once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from headrace.server.process import EXPERIMENTS, ONE_POLLER, new_event_loop

LISTENING = """
from headrace.server.process import prepare
prepare()
import asyncio, os, grpc
async def listen():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(os.environ["GRPC_EXPERIMENTS"])
    await server.stop(None)
asyncio.run(listen())
"""


def listening(**environment: str) -> tuple[str, str]:
    """The switch as gRPC saw it, and what it logged."""
    clean = {name: value for name, value in os.environ.items() if name != EXPERIMENTS}
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr


def test_a_server_asks_grpc_for_one_poller_and_is_understood() -> None:
    assert listening() == (ONE_POLLER, "")


def test_what_the_operator_sets_stands_and_what_grpc_does_not_know_it_says() -> None:
    switch, said = listening(**{EXPERIMENTS: "no_such_thing"})
    assert switch == "no_such_thing"
    assert "no_such_thing" in said


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop")
def test_the_event_loop_is_uvloops() -> None:
    loop = new_event_loop()
    try:
        assert type(loop).__module__.startswith("uvloop")
    finally:
        loop.close()
