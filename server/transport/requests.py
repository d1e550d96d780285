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

#: Messages that a handler gets in a row, before others have their turn on the event loop; fewer if they take long.
IN_A_ROW = 16


class Requests:
    """The decoded requests of one call, for its handler on the event loop.

    Mutable: `_waiting`, the messages that are there; `_unread`, bytes of them and of one that is not complete; `_owed`,
    bytes of which the client has not heard that they are taken; `_taker`, who gets them as they come, None while nobody
    wants any; `_in_a_row`, how many he got, and `_resting`, while others have their turn; `_complete`, no more will
    come; `_news`, for `each`.

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
        self._refuse, self._share, self._loop = refuse, session.share, asyncio.get_running_loop()
        self._assembler = Assembler(most, encoding)
        self._waiting: deque[bytes | Packed] = deque()
        self._taker: Callable[[Any], bool] | None = None
        self._unread = self._owed = self._in_a_row = 0
        self._complete = self._resting = False
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
        self._unread += size + WEIGHT * len(messages)
        if messages:
            waiting.extend(messages)
            self._hand_on()
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

    async def each(self, take: Callable[[Any], bool]) -> bool:
        """Hands over each request as it comes, mostly while the connection is read, until `take` wants no more for now.
        Whether there may be more. Where what came is no request, that ends the call, and this too.

        take: must not raise.
        """
        self._taker = take
        try:
            while True:
                self._hand_on()
                if self._taker is None:
                    return True
                if self._waiting and not self._resting:
                    await self._unpack()
                elif self._complete and not self._waiting:
                    self._check_complete()
                    return False
                else:
                    self._news = self._loop.create_future()
                    await self._news
        finally:
            self._taker = None

    async def only(self) -> Any:
        """The one request of a call that has one, once the client has said that it is all. Raises Refused if there is
        none, or another."""
        found: list[Any] = []

        def take(request: Any) -> bool:
            found.append(request)
            return len(found) < 2

        await self.each(take)
        if len(found) != 1:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "this call takes one message")
        return found[0]

    def _hand_on(self) -> None:
        """What waits, up to what `each` has to unpack first; or until others are to have their turn."""
        while self._waiting and self._taker is not None and not self._resting:
            first = self._waiting[0]
            if self._in_a_row == IN_A_ROW or self._share.over:
                self._resting = True
                self._share.wait(self._go_on)
            elif isinstance(first, Packed):
                self._tell()
                return
            else:
                self._drop_first()
                self._hand(first)

    def _go_on(self) -> None:
        """Others have had their turn."""
        self._resting, self._in_a_row = False, 0
        self._hand_on()
        self._tell()

    def _hand(self, message: bytes) -> None:
        """To the taker, who may be none any more then."""
        take = self._taker
        try:
            if take is not None and take(self._read(message)):
                return
        except Refused as refused:
            self._give_up(refused)
        self._taker = None
        self._tell()

    async def _unpack(self) -> None:
        """What comes meanwhile waits behind it."""
        take, packed = self._taker, self._waiting[0]
        assert isinstance(packed, Packed), "all else is handed on as it is"
        self._taker = None
        self._drop_first()
        try:
            message = await packed.unpacked(self._most)
        except Refused as refused:
            self._give_up(refused)
            return
        self._taker = take
        self._hand(message)

    def _give_up(self, refused: Refused) -> None:
        self._waiting.clear()  # else the handler might get what is behind it before it is told
        self._refuse(refused)

    def _drop_first(self) -> None:
        self._in_a_row += 1
        self._unread -= PREFIX + len(self._waiting.popleft()) + WEIGHT
        if self._owed and (self._unread <= UNREAD or not self._waiting):
            self._session.consume_stream(self._stream.number, self._owed)
            self._owed = 0
            self._flush()

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
