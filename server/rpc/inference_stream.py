"""One ModelStreamInfer connection: requests take effect in the order read, responses leave as they finish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable

from headrace.protos import inference_pb2 as pb

from .inference_call import Call, Received

log = logging.getLogger(__name__)

#: Of one connection so many requests may be read and not yet answered in full; beyond it, it is not read from.
MOST_UNDER_WAY = 256


class InferStream:
    """Mutable: `_under_way`, the calls whose responses are not written yet, at most `most`; `_answered`, those of them
    that wait for it.

    submit: hands a request to its lane; it never raises, the call is told.
    fault: what ended the reading that is no fault of the client's.
    """

    def __init__(self, submit: Callable[[Call, Received], None], most: int = MOST_UNDER_WAY) -> None:
        self.fault: Exception | None = None
        self._submit, self._most = submit, most
        self._changed, self._written = asyncio.Event(), asyncio.Event()
        self._under_way: set[Call] = set()
        self._answered: list[Call] = []  # and not yet written
        self._reader: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"InferStream(under_way={len(self._under_way)})"

    async def run(
        self, requests: AsyncIterable[Received], write: Callable[[pb.ModelStreamInferResponse], Awaitable[None]]
    ) -> None:
        """Until all requests are read and answered. If cancelled, what waits in the lanes is dropped."""
        reader = self._reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._changed.set())  # also if it never took its first step
        try:
            while not reader.done() or self._under_way:
                await self._changed.wait()
                self._changed.clear()
                await self._write(write)
        finally:
            reader.cancel()
            await asyncio.wait([reader])
            for call in self._under_way:
                call.leave()

    def finish(self) -> None:
        """Reads no more; `run` returns when what was read is answered."""
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self, requests: AsyncIterable[Received]) -> None:
        try:
            async for request in requests:
                while len(self._under_way) >= self._most:
                    self._written.clear()
                    await self._written.wait()
                call = Call(self._put)
                self._submit(call, request)
                self._under_way.add(call)
        except Exception as error:
            log.exception("a request met a fault of ours; its stream ends")
            self.fault = error

    def _put(self, call: Call) -> None:
        self._answered.append(call)
        self._changed.set()

    async def _write(self, write: Callable[[pb.ModelStreamInferResponse], Awaitable[None]]) -> None:
        answered, self._answered = self._answered, []
        for call in answered:
            await write(call.streamed())
            self._under_way.discard(call)
            self._written.set()
