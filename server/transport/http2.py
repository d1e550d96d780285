"""A gRPC server of our own over nghttp2: its sockets, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import grpc

from .connection import Connection, Terms

#: Waiting connections that the kernel keeps.
BACKLOG = 1024

#: Why an address is not to be had, where others of the host may be: ::1 of localhost, where there is no IPv6.
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

#: Seconds that clients have to read the last words of a server that waits for them no longer.
LAST_WORDS = 1.0


class Http2Server:
    """Its connections, and what runs on them, are in its `Terms`."""

    def __init__(self, terms: Terms, listeners: list[asyncio.Server], port: int) -> None:
        self._terms, self._listeners, self.port = terms, listeners, port

    def __repr__(self) -> str:
        return f"Http2Server(port={self.port}, connections={len(self._terms.connections)})"

    async def stop(self, grace: float) -> None:
        """Takes no more connections, asks the clients to go, waits so many seconds for their calls, and ends them."""
        self._terms.closing.set()
        for listener in self._listeners:
            listener.close()
        connections = self._terms.connections
        for connection in connections.copy():
            connection.drain()
        await _all({connection.done for connection in connections}, grace)
        for connection in connections.copy():
            connection.end()
        await _all({connection.gone for connection in connections}, LAST_WORDS)
        for connection in connections.copy():
            connection.abort()
        await _all({connection.gone for connection in connections}, None)
        while self._terms.tasks:
            await asyncio.wait(self._terms.tasks)


async def _all(events: Iterable[asyncio.Event], seconds: float | None) -> None:
    """Waits for them, or so long."""
    if waits := [asyncio.create_task(event.wait()) for event in events]:
        try:
            await asyncio.wait(waits, timeout=seconds)
        finally:
            for task in waits:
                task.cancel()


@dataclass(frozen=True, slots=True)
class Details(grpc.HandlerCallDetails):  # type: ignore[misc]  # gRPC has no types
    """What a service asks of a call to find its handler."""

    method: str
    invocation_metadata: tuple[()] = ()


def find(services: Iterable[grpc.GenericRpcHandler], path: str) -> grpc.RpcMethodHandler | None:
    """The handler of a method by its path, None if no service has it."""
    found = (service.service(Details(path)) for service in services)
    return next((handler for handler in found if handler is not None), None)


async def listen(
    host: str, port: int, services: Iterable[grpc.GenericRpcHandler], most: int, silence: float
) -> Http2Server:
    """A server of these services that takes connections. port: 0 for any; most, silence: as in `Terms`.

    Raises OSError if the port cannot be had.
    """
    loop, terms = asyncio.get_running_loop(), Terms(partial(find, tuple(services)), most, silence)
    make = partial(Connection, terms)
    with ExitStack() as undo:
        listeners: list[asyncio.Server] = []
        sockets = bound(host, port)
        for each in sockets:
            undo.callback(each.close)
        for each in sockets:
            listeners.append(await loop.create_server(make, sock=each, backlog=BACKLOG))
            undo.callback(listeners[-1].close)
        undo.pop_all()
    return Http2Server(terms, listeners, sockets[0].getsockname()[1])


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets at all addresses of the host that this machine has, on one port; 0 takes any. Raises OSError."""
    sockets: list[socket.socket] = []
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    with ExitStack() as undo:
        for family, kind, number, _, address in addresses:
            try:
                made = undo.enter_context(socket.socket(family, kind, number))
                _prepare(made, alone=len(addresses) == 1)
                made.bind((address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in ABSENT or (not sockets and address is addresses[-1][4]):
                    raise
                continue
            sockets.append(made)
            port = made.getsockname()[1]
        undo.pop_all()
    return sockets


def _prepare(made: socket.socket, *, alone: bool) -> None:
    """alone: the host has no other address, so one of IPv6 may stand for those of IPv4 as well (`::`)."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not alone))
    if sys.platform != "win32":  # where it would let others have the port too
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
