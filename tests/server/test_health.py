"""The metrics port: what it answers, and that silent connections hold up nobody."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter

from headrace.server.health import MOST_CONNECTIONS, HealthServer

READY = b"GET /healthz HTTP/1.0\r\n\r\n"


@pytest.fixture
def up() -> list[bool]:
    """Its only element: whether the server takes work."""
    return [True]


@pytest.fixture
def server(up: list[bool]) -> HealthServer:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry).inc(3)
    return HealthServer("127.0.0.1", 0, registry, lambda: up[0])


@pytest.fixture
def port(server: HealthServer) -> Iterator[int]:
    yield server.port
    server.stop()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def answered(port: int) -> bool:
    """Whether a probe is answered, rather than hung up on."""
    with connected(port) as probe:
        try:
            probe.sendall(READY)
            return b"200 OK" in probe.makefile("rb").read()
        except ConnectionError:
            return False


def test_pages(port: int, up: list[bool]) -> None:
    assert get(port, "/healthz") == (200, "ok\n")
    assert "things_total 3.0" in get(port, "/metrics")[1]
    assert get(port, "/elsewhere")[0] == 404
    up[0] = False
    assert get(port, "/healthz") == (503, "draining\n")


def test_a_silent_connection_holds_up_neither_probes_nor_the_end(server: HealthServer) -> None:
    with connected(server.port), connected(server.port) as half:
        half.sendall(b"GET /hea")
        assert get(server.port, "/healthz") == (200, "ok\n")
        server.stop()


def test_silent_connections_are_bounded_and_give_their_room_back(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(connected(port))
        assert not answered(port)
    while not answered(port):  # their threads end one by one
        pass
