"""A socket, its HTTP/2 session, and the calls on it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import grpc

from .call import Call
from .heads import RESPONSE, Head, not_grpc, read_head, trailers
from .messages import Refused
from .session import ProtocolError, Session
from .share import TURN
from .stream import Stream

log = logging.getLogger(__name__)

#: Bytes that are handed to the socket at once: it may say in between that it has enough.
PIECE = 256 << 10

#: Received bytes that are handled at once.
SLICE = 128 << 10


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections of a server have in common.

    find: the handler of a method by its path, None if there is none; most: bytes of a request; silence: seconds without
    a sign of life after which a client is asked for one, and after as many more given up. Mutable: `connections`, those
    that are open; `tasks`, the handlers that run; `closing`, whether more connections are unwanted.
    """

    find: Callable[[str], grpc.RpcMethodHandler | None]
    most: int
    silence: float
    connections: set[Connection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    closing: asyncio.Event = field(default_factory=asyncio.Event)


class Connection(asyncio.Protocol):
    """On the event loop. Mutable: `_calls`, those that run; `_heard` and `_asked`, signs of life; `_behind`, more came
    than could be handled at once; `_draining`, it ends with its last call. done: nothing more is written; gone: nor
    read.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._session = Session(self._begin)
        self._calls: set[Call] = set()
        self._receiving = self._behind = self._paused = self._draining = False
        self.done, self.gone = asyncio.Event(), asyncio.Event()
        self._heard, self._asked = True, False
        self._watch: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"Connection(calls={len(self._calls)})"

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # as uvloop's is, though it does not say so
        self._terms.connections.add(self)
        if self._terms.closing.is_set():  # while it was under way
            self.abort()
        self._flush()
        self._look()

    def data_received(self, data: bytes) -> None:
        self._heard = not self.done.is_set()  # else nothing that it says keeps it
        if len(data) <= SLICE:
            self._receive(data)
        else:
            self._go_on(data, 0)

    def _go_on(self, data: bytes, start: int) -> None:
        """In slices from `start` on; others have their turns if they take long."""
        until = time.monotonic() + TURN
        while start < len(data):
            if time.monotonic() > until:
                self._fall_behind()
                asyncio.get_running_loop().call_soon(self._go_on, data, start)
                return
            self._receive(data[start : start + SLICE])
            start += SLICE
        if self._behind and not self._transport.is_closing():
            self._behind = False
            self._transport.resume_reading()

    def _fall_behind(self) -> None:
        if not self._behind:
            self._behind = True
            self._transport.pause_reading()

    def _receive(self, data: bytes) -> None:
        if self.done.is_set():
            return
        self._receiving = True
        try:
            news = self._session.receive(data)
        except ProtocolError as error:
            log.info("a connection ends: %s", error)
            self.abort()
            return
        finally:
            self._receiving = False
        if news or self._draining:  # whose last call the client may have ended
            self._flush()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.done.set()
        if self._watch is not None:
            self._watch.cancel()
        self._session.close()
        self._terms.connections.discard(self)
        self.gone.set()

    def _flush(self) -> None:
        """While the session is at work on what came, nothing is sent: it is sent right after."""
        if self._receiving or self.done.is_set():
            return
        self._send()
        if self._draining and self._session.idle:
            self._say_goodbye()
        elif self._session.over and not self.done.is_set():
            self._close()

    def _send(self) -> None:
        try:
            while not (self._paused or self.done.is_set()):
                self._transport.write(data := self._session.pull(PIECE))
                if len(data) < PIECE:
                    break
        except ProtocolError as error:
            log.error("a connection ends: %s", error)
            self.abort()

    # Its end

    def drain(self) -> None:
        """The client is asked to go; its calls may end."""
        self._draining = True
        self._session.announce_end()
        self._flush()

    def end(self) -> None:
        """Its calls end now."""
        for call in self._calls.copy():
            call.stop(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        self._say_goodbye()

    def abort(self) -> None:
        """At once; a client that does not read hears nothing of it."""
        self.done.set()
        self._transport.abort()

    def _say_goodbye(self) -> None:
        if not self.done.is_set():
            self._session.terminate()
            self._paused = False  # it is little, and the last
            self._send()
            self._close()

    def _close(self) -> None:
        """Says that nothing more is sent, behind what was: the client closes then. If this side closed with something
        unread, the system would drop what the client has not read yet (RFC 9112, 9.6)."""
        self.done.set()
        with suppress(OSError):  # if the client has gone, that is told as ever
            self._transport.write_eof()

    def _look(self) -> None:
        """A client that says nothing is asked, and given up if it still says nothing."""
        if self._asked and not self._heard:
            log.info("a connection gave no sign of life")
            self.abort()
            return
        self._asked = not self._heard
        if self._asked:
            self._session.ping()
            self._flush()
        self._heard = False
        self._watch = asyncio.get_running_loop().call_later(self._terms.silence, self._look)

    # Its calls

    def _begin(self, stream: Stream, head: dict[bytes, bytes]) -> Call | None:
        if (wrong := not_grpc(head)) is not None:
            self._session.refuse(stream, wrong)
            return None
        try:
            return self._call(stream, read_head(head))
        except Refused as refused:
            self._session.refuse(stream, [*RESPONSE, *trailers(refused.status, refused.details)])
            return None

    def _call(self, stream: Stream, head: Head) -> Call:
        """Raises Refused."""
        if (handler := self._terms.find(head.method)) is None:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {head.method}")
        call = Call(self._session, stream, handler, head, self._terms.most, self._flush)
        self._calls.add(call)
        self._terms.tasks.add(call.task)
        call.task.add_done_callback(partial(self._ended, call))
        return call

    def _ended(self, call: Call, task: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._terms.tasks.discard(task)
