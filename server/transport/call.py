"""One call: what a service's handler knows as its context, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NoReturn

import grpc

from .heads import RESPONSE, Head, trailers
from .library import CANCEL
from .messages import Metadata, Refused, framed
from .requests import Requests
from .session import Session
from .stream import Stream

log = logging.getLogger(__name__)

#: Bytes of answers that may wait for the network. With more, the handler waits until all are sent.
UNSENT = 64 << 10


class Call:
    """On the event loop. Mutable: `_begun`, whether it has answered at all; `_over`, whether it can say anything more;
    `_gone`, whether the client left before that; `_room`, for who waits for the network.

    most: bytes of a request. flush: sends what the session has to send.
    """

    def __init__(
        self,
        session: Session,
        stream: Stream,
        handler: grpc.RpcMethodHandler,
        head: Head,
        most: int,
        flush: Callable[[], None],
    ) -> None:
        self._session, self._stream, self._handler, self._flush = session, stream, handler, flush
        self._loop = asyncio.get_running_loop()
        decode = handler.request_deserializer or bytes
        self._encode = handler.response_serializer or bytes
        self._requests = Requests(session, stream, head.encoding, most, decode, self._refuse, flush)
        self._begun = self._over = self._gone = False
        self._room: asyncio.Future[None] | None = None
        self._deadline = None if head.timeout is None else self._loop.time() + head.timeout
        self._timer = None if self._deadline is None else self._loop.call_at(self._deadline, self._expire)
        self.task = self._loop.create_task(self._run())

    def __repr__(self) -> str:
        return f"Call({self._requests!r}, over={self._over})"

    # As handlers see it

    def send(self, answer: Any) -> bool:
        """At once; in a call that is over, nowhere. Whether there is room for the next; if not, await `room`."""
        if self._over:
            return False
        if not self._begun:
            self._begun = True
            self._session.respond(self._stream, RESPONSE)
        self._session.write(self._stream, framed(self._encode(answer)))
        self._flush()
        return self._stream.unsent <= UNSENT

    async def room(self) -> None:
        """Returns when all that was written is on its way. Raises CancelledError in a call that is over."""
        if self._over:
            raise asyncio.CancelledError
        if self._stream.unsent:
            self._room = self._loop.create_future()
            await self._room

    async def write(self, answer: Any) -> None:
        """`send`, and `room` where that is needed."""
        if not self.send(answer):
            await self.room()

    async def abort(self, status: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call: what was written is still sent. Raises Refused."""
        raise Refused(status, details, trailing_metadata)

    def time_remaining(self) -> float | None:
        """Seconds until the client gives up; None if it does not."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def cancelled(self) -> bool:
        """Whether the client is gone."""
        return self._gone

    # As its connection sees it

    def receive(self, data: bytes) -> None:
        """Data of the client's."""
        if self._over:
            self._session.consume(self._stream.number, len(data))
        else:
            self._requests.feed(data)

    def end(self) -> None:
        """The client sends no more."""
        self._requests.end()

    def drained(self) -> None:
        """All that was written is on its way."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def stop(self, status: grpc.StatusCode, details: str) -> None:
        """Ends the call, whatever its handler does."""
        self._finish(status, details)
        self._cancel()

    def leave(self) -> None:
        """The client is gone, or has all it will get."""
        self._gone = not self._over
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._requests.leave()
        self._stream.drop()
        if self._gone:
            self._cancel()

    def _cancel(self) -> None:
        """Once: a second time would interrupt what the handler does at its end."""
        if not self.task.cancelling():
            self.task.cancel()

    def _refuse(self, refused: Refused) -> None:
        self.stop(refused.status, refused.details)

    def _expire(self) -> None:
        """A client that has not even read what it was sent so far would not read a status either."""
        if self._stream.unsent:
            self._over = True
            self._session.reset(self._stream, CANCEL)
            self._flush()
        self.stop(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")

    # From the first request to the status

    async def _run(self) -> None:
        try:
            await self._handle()
        except Refused as error:
            self._finish(error.status, error.details, error.metadata)
        except asyncio.CancelledError:  # whose trace would keep the call, if it were raised on: nobody awaits this task
            self._finish(grpc.StatusCode.CANCELLED, "the call was cancelled")  # unless something was said already
        except Exception as error:
            log.exception("a handler failed")
            self._finish(grpc.StatusCode.UNKNOWN, f"the server failed: {error!r}")
        else:
            self._finish(grpc.StatusCode.OK)

    async def _handle(self) -> None:
        handler = self._handler
        requests = self._requests if handler.request_streaming else await self._requests.only()
        if handler.response_streaming:
            await (handler.stream_stream or handler.unary_stream)(requests, self)
        else:
            await self.write(await (handler.stream_unary or handler.unary_unary)(requests, self))

    def _finish(self, status: grpc.StatusCode, details: str = "", metadata: Metadata = ()) -> None:
        if self._over:
            return
        self._over = True
        if self._begun:
            self._session.end(self._stream, trailers(status, details, metadata))
        else:
            self._session.refuse(self._stream, [*RESPONSE, *trailers(status, details, metadata)])
        self._flush()
