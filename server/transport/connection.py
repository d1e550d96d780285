"""A socket, its HTTP/2 session, and the calls on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from .call import Call
from .heads import RESPONSE, not_grpc, read_head, trailers
from .messages import Refused
from .session import ProtocolError, Session

log = logging.getLogger(__name__)

#: Bytes that are handed to the socket at once: it may say in between that it has enough.
PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections of a server have in common.

    find: the handler of a method by its path, None if there is none; most: bytes of a request; silence: seconds without
    a sign of life after which a client is asked for one, and after as many more given up. Mutable: `connections`, those
    that are open; `tasks`, the handlers that run.
    """

    find: Callable[[str], grpc.RpcMethodHandler | None]
    most: int
    silence: float
    connections: set[Connection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Connection(asyncio.Protocol):
    """On the event loop. Mutable: `_calls`, by stream; `_heard`, `_asked`: signs of life; `gone`: is set in the end."""

    def __init__(self, terms: Terms) -> None:
        self._terms, self.gone = terms, asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._session = Session(self)
        self._calls: dict[int, Call] = {}
        self._scheduled = self._paused = self._closing = False
        self._heard, self._asked = True, False
        self._watch: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"Connection(calls={len(self._calls)})"

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._terms.connections.add(self)
        self._look()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self._session.receive(data)
        except ProtocolError as error:
            log.info("a connection ends: %s", error)
            self._transport.close()
        self._flush()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._terms.connections.discard(self)
        self.gone.set()
        if self._watch is not None:
            self._watch.cancel()
        for call in self._calls.values():
            call.leave()
        self._session.close()

    def _dirty(self) -> None:
        """What is written in one turn of the event loop goes to the socket at once."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        try:
            self._send()
            if self._closing and not self._calls:
                self._session.terminate()
                self._send()
        except ProtocolError as error:
            log.error("a connection ends: %s", error)
            self._transport.abort()
        if self._session.over:
            self._transport.close()

    def _send(self) -> None:
        while not (self._paused or self._transport.is_closing()) and (pieces := self._pull()):
            self._transport.writelines(pieces)

    def _pull(self) -> list[bytes]:
        pieces, size = [], 0
        while size < PIECE and (piece := self._session.pull()):
            pieces.append(piece)
            size += len(piece)
        return pieces

    # Its end

    def drain(self) -> None:
        """The client is asked to go; its calls may end."""
        self._closing = True
        self._session.announce_end()
        self._flush()

    def end(self) -> None:
        """Its calls end now."""
        for call in [*self._calls.values()]:
            call.stop(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        self._send()
        self._session.terminate()
        self._flush()

    def abort(self) -> None:
        """At once; a client that does not read hears nothing of it."""
        self._transport.abort()

    def _look(self) -> None:
        """A client that says nothing is asked, and given up if it still says nothing."""
        if self._asked and not self._heard:
            log.info("a connection gave no sign of life")
            self._transport.abort()
            return
        self._asked = not self._heard
        if self._asked:
            self._session.ping()
            self._flush()
        self._heard = False
        self._watch = self._loop.call_later(self._terms.silence, self._look)

    # What its session hears

    def headed(self, stream: int, head: dict[bytes, bytes]) -> None:
        if stream in self._calls:
            return  # what stands behind a client's messages says nothing here
        if (wrong := not_grpc(head)) is not None:
            self._session.refuse(stream, wrong)
            return
        try:
            self._begin(stream, head)
        except Refused as refused:
            self._session.refuse(stream, [*RESPONSE, *trailers(refused.status, refused.details)])

    def _begin(self, stream: int, head: dict[bytes, bytes]) -> None:
        """Raises Refused."""
        known = read_head(head)
        if (handler := self._terms.find(known.method)) is None:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {known.method}")
        call = Call(self._session, stream, handler, known, self._terms.most, self._dirty)
        self._calls[stream] = call
        self._terms.tasks.add(call.task)
        call.task.add_done_callback(self._terms.tasks.discard)

    def received(self, stream: int, data: Any) -> None:
        if stream in self._calls:
            self._calls[stream].receive(data)
        else:  # of a call that was refused
            self._session.consume(stream, len(data))

    def ended(self, stream: int) -> None:
        if stream in self._calls:
            self._calls[stream].end()

    def drained(self, stream: int) -> None:
        if stream in self._calls:
            self._calls[stream].drained()

    def closed(self, stream: int) -> None:
        if stream in self._calls:
            self._calls.pop(stream).leave()
