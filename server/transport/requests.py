"""What the client of one call sends, message by message, no faster than the handler takes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc

from .messages import PREFIX, Assembler, Packed, Refused
from .session import Session
from .stream import Stream

#: Bytes of requests that may wait for the handler. Beyond them the client may send a stream's window, and no more.
UNREAD = 256 << 10

#: Bytes that a message is taken to have beside its own.
WEIGHT = 64

#: Messages that a handler gets in a row, before others have their turn on the event loop.
IN_A_ROW = 16


class Requests:
    """An iterator over decoded requests, for one handler on the event loop.

    Mutable: `_waiting`, the messages that are there; `_unread`, bytes of them and of one that is not complete; `_owed`,
    bytes of which the client has not heard that they are taken; `_in_a_row`, messages since the handler last waited;
    `_complete`, no more will come; `_news`, for who waits for some.

    most: bytes of a request; refuse: ends the call, where what comes is no request: messages that wait before it may be
    dropped; flush: sends what the session has to send.
    """

    def __init__(
        self,
        session: Session,
        stream: Stream,
        encoding: bytes | None,
        most: int,
        decode: Callable[[bytes], Any],
        refuse: Callable[[Refused], None],
        flush: Callable[[], None],
    ) -> None:
        self._session, self._stream, self._most, self._decode, self._flush = session, stream, most, decode, flush
        self._refuse, self._loop = refuse, asyncio.get_running_loop()
        self._assembler = Assembler(most, encoding)
        self._waiting: deque[bytes | Packed] = deque()
        self._unread = self._owed = self._in_a_row = 0
        self._complete = False
        self._news: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"Requests(waiting={len(self._waiting)}, unread={self._unread}, complete={self._complete})"

    def feed(self, data: bytes) -> None:
        """Data of the stream."""
        size, waiting = len(data), self._waiting
        try:
            messages = self._assembler.feed(data)
        except Refused as refused:
            self._refuse(refused)
            messages = ()
        if messages:
            waiting.extend(messages)
            self._tell()
        self._unread += size + WEIGHT * len(messages)
        if self._unread <= UNREAD or not waiting:
            self._session.consume(self._stream.number, size)
        else:
            self._session.consume_connection(size)
            self._owed += size

    def end(self) -> None:
        """No more will come."""
        self._complete = True
        self._tell()

    def leave(self) -> None:
        """The client is gone, and the session may be. Nobody is to read what it still sent, nor has to hear of it."""
        self._waiting.clear()
        self._assembler.drop()
        self._unread = self._owed = 0
        self._refuse = _nothing  # which was the call's own, and would keep it alive
        self.end()

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Any:
        """The next request. Where what came is none, that ends the call, and the iteration too."""
        self._in_a_row += 1
        if self._in_a_row > IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)  # in which the client may go, and what waits with it
        while not self._waiting:
            if self._complete:
                self._check_complete()
                raise StopAsyncIteration
            self._news, self._in_a_row = self._loop.create_future(), 0
            await self._news
        message = self._take()
        try:
            return self._read(await message.unpacked(self._most) if isinstance(message, Packed) else message)
        except Refused as refused:
            self._refuse(refused)
            raise StopAsyncIteration from refused

    async def only(self) -> Any:
        """The one request of a call that has one, once the client has said that it is all. Raises Refused if there is
        none, or another."""
        first = await anext(self, None)
        if first is None or await anext(self, None) is not None:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "this call takes one message")
        return first

    def _take(self) -> bytes | Packed:
        message = self._waiting.popleft()
        self._unread -= PREFIX + len(message) + WEIGHT
        if self._owed and (self._unread <= UNREAD or not self._waiting):
            self._session.consume_stream(self._stream.number, self._owed)
            self._owed = 0
            self._flush()
        return message

    def _read(self, message: bytes) -> Any:
        """Raises Refused."""
        try:
            return self._decode(message)
        except Exception as error:
            raise Refused(grpc.StatusCode.INTERNAL, f"a message of {len(message)} bytes cannot be read") from error

    def _check_complete(self) -> None:
        if self._assembler.halfway:
            self._refuse(Refused(grpc.StatusCode.INTERNAL, "the last message is cut short"))

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _nothing(refused: Refused) -> None:
    """For a call that is over."""
