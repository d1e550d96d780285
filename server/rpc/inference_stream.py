"""One ModelStreamInfer connection: requests take effect in the order read, responses leave as they finish."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .context import StreamContext
from .conversation import Conversation
from .inference_call import Call, Received

#: Of one connection so many requests may be read and not yet answered in full; beyond it, it is not read from.
MOST_UNDER_WAY = 256


class InferStream(Conversation[Received]):
    """Mutable: `_under_way`, the calls whose responses are not written yet, at most `most`; `_done`, those of them that
    wait for it.

    submit: hands a request to its lane; it never raises, the call is told.
    """

    def __init__(
        self, context: StreamContext, submit: Callable[[Call, Received], None], most: int = MOST_UNDER_WAY
    ) -> None:
        super().__init__(context)
        self._submit, self._most = submit, most
        self._written = asyncio.Event()
        self._under_way: set[Call] = set()
        self._done: deque[Call] = deque()

    def __repr__(self) -> str:
        return f"InferStream(under_way={len(self._under_way)})"

    def _handle(self, request: Received) -> None:
        call = Call(self._put)
        self._submit(call, request)
        self._under_way.add(call)

    @property
    def _enough(self) -> bool:
        return len(self._under_way) >= self._most

    async def _room(self) -> None:
        while self._enough:
            self._written.clear()
            await self._written.wait()

    @property
    def _unsaid(self) -> bool:
        return bool(self._under_way)

    def _put(self, call: Call) -> None:
        self._done.append(call)
        self._answered()

    def _write(self) -> None:
        while self._done and self._clear:
            call = self._done.popleft()
            self._under_way.discard(call)
            self._say(call.streamed())
            self._written.set()

    def _leave(self) -> None:
        for call in self._under_way:
            call.leave()
