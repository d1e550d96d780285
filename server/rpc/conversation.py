"""Both directions of a streaming call."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from .context import Requests, StreamContext

log = logging.getLogger(__name__)

R = TypeVar("R")


class Conversation(ABC, Generic[R]):
    """On the event loop. A request is handled while its connection is read, and what is answered there is written then
    and there; later answers are gathered for one turn of the loop. A task for each direction would be woken up for
    each message: a tenth of what a frame costs beside the runtime (docs/performance.md).

    fault: what ended it that is no fault of the client's. Mutable beside it: `_over`; `_clear`, whether the network
    has room; `_handling`, a request; `_planned`, to write soon.
    """

    def __init__(self, context: StreamContext) -> None:
        self.fault: Exception | None = None
        self._context, self._loop = context, asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._over = self._handling = self._planned = False
        self._clear = True

    # What kinds of it differ in

    @abstractmethod
    def _handle(self, request: R) -> None:
        """Does what it asks for."""

    @property
    @abstractmethod
    def _enough(self) -> bool:
        """Whether nothing more is to be read for now."""

    @abstractmethod
    async def _room(self) -> None:
        """Returns when there is not enough any more."""

    @abstractmethod
    def _write(self) -> None:
        """Hands all that is to be said to `_say`, or less if that finds the network full."""

    @property
    @abstractmethod
    def _unsaid(self) -> bool:
        """Whether something is still to be said before the end."""

    @abstractmethod
    def _leave(self) -> None:
        """It is over: what is not answered is not wanted any more."""

    # What they have in common

    def finish(self) -> None:
        """Nothing more is read; what is answered is still written, then it ends."""
        self._over = True
        self._woken.set()

    async def run(self, requests: Requests[R]) -> None:
        """Until the client is done and answered, or gone, or it is finished."""
        reader = asyncio.create_task(self._read(requests))
        try:
            while self._unsaid or not (self._over and self._clear):
                await self._woken.wait()
                self._woken.clear()
                if not self._clear:
                    await self._context.room()
                    self._clear = True
                self._pour()
        finally:
            reader.cancel()
            await asyncio.wait([reader])
            self._leave()

    async def _read(self, requests: Requests[R]) -> None:
        try:
            while await requests.each(self._take) and not self._over:
                await self._room()
            await self._settled()
        except Exception as error:
            self._fail(error)
        finally:
            self.finish()

    async def _settled(self) -> None:
        """Returns when all that was asked for is answered."""

    def _take(self, request: R) -> bool:
        if self._over:
            return False
        self._handling = True
        try:
            self._handle(request)
        except Exception as error:
            self._fail(error)
        finally:
            self._handling = False
        self._pour()
        return not (self._over or self._enough)

    def _answered(self) -> None:
        """There is something to say."""
        if not (self._handling or self._planned):
            self._planned = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._planned = False
        self._pour()
        if self._over:  # which `run` waits for
            self._woken.set()

    def _pour(self) -> None:
        if self._clear:
            try:
                self._write()
            except Exception as error:
                self._fail(error)

    def _say(self, message: Any) -> None:
        self._clear = self._context.send(message)
        if not self._clear:
            self._woken.set()

    def _fail(self, error: Exception) -> None:
        log.error("a request met a fault of ours; its stream ends", exc_info=error)
        self.fault = error
        self.finish()
