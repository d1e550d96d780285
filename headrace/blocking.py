"""The client for code without asyncio: the same objects, driven by one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from collections.abc import Sequence as Several
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack

from headrace.client import Client as AsyncClient
from headrace.client import Piece, Prompts, Result, ServedModel, Settings, Source, Value, Writing
from headrace.client import Sequence as AsyncSequence

from .errors import Unavailable
from .spec import ModelSpec

T = TypeVar("T")


def connect(address: str, settings: Settings | None = None) -> Client:
    """For `with`. Raises Unavailable on entering if no server answers at `address` ("host:port")."""
    return Client(address, settings)


class Call(Generic[T]):
    """A coroutine on its way to the loop, and the thread that waits for it. Mutable: `_task`, once it runs."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.answer: Future[T] = Future()
        self._work = work
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._work)
        self._task.add_done_callback(self._hand_over)

    def close(self) -> None:
        """It will not begin."""
        self._work.close()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _hand_over(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.answer.cancel()
        elif error := task.exception():
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())


class Loop:
    """One event loop in one thread; any other thread may run coroutines on it and wait, until it is stopped.

    Mutable: `_stopped`, and `_calls`, those that no loop turn has begun: one wake begins all that many threads asked
    for meanwhile. The lock puts every coroutine before the end of the loop, where it is ended, or behind.
    """

    def __init__(self) -> None:
        self._lock, self._stopped = Lock(), False
        self._calls: list[Call[Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises Unavailable once the loop is stopped, and what `work` raises."""
        call = Call(work)
        try:
            self._post(call)
            return call.answer.result()
        except CancelledError:
            raise Unavailable("the client is closed") from None
        except BaseException:
            if not call.answer.done():  # who is interrupted (Ctrl-C) gives the step up, as a cancelled task does
                self._cancel(call)
            raise

    def _post(self, call: Call[Any]) -> None:
        with self._lock:
            if self._stopped:
                call.close()
                raise Unavailable("the client is closed")
            self._calls.append(call)
            if len(self._calls) == 1:
                self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
        for call in calls:
            call.begin()

    def _cancel(self, call: Call[Any]) -> None:
        with self._lock:
            if not self._stopped:  # else it is cancelled anyhow
                self._loop.call_soon_threadsafe(call.cancel)

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Runs `last`, then ends all other work, and the thread, even if `last` raises."""
        with self._lock:
            if self._stopped:  # by another thread
                return last.close()
            self._stopped = True
            end = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        try:
            end.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self, last: Coroutine[Any, Any, None]) -> None:
        try:
            await last
        finally:
            await self._end_tasks()

    async def _end_tasks(self) -> None:
        """Waits of other threads, so that none of them waits for ever."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _nothing() -> None:
    pass


class Client:
    """See `headrace.client.Client`. Any number of threads may use it, and share its frames."""

    def __init__(self, address: str, settings: Settings | None = None) -> None:
        self._client = AsyncClient(address, settings)
        self._running: Loop | None = None

    def __repr__(self) -> str:
        return f"blocking.{self._client}"

    def __enter__(self) -> Self:
        """Raises Unavailable if no server answers."""
        self._running = Loop()
        try:
            self._running.run(self._client.__aenter__())
        except BaseException:
            self._stop(_nothing())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; sequences that are not closed live on at the server until they expire."""
        if self._running is not None:
            self._stop(self._client.__aexit__(None, None, None))

    def _stop(self, last: Coroutine[Any, Any, None]) -> None:
        loop, self._running = self._loop, None
        loop.stop(last)

    @property
    def _loop(self) -> Loop:
        if self._running is None:
            raise Unavailable("the client is not connected; use it inside `with`")
        return self._running

    def models(self) -> list[ServedModel]:
        return self._loop.run(self._client.models())

    def open(
        self,
        model: str,
        id: str | None = None,
        *,
        mode: Literal["fresh", "resume", "replace"] = "fresh",
        version: str = "",
        tenant: str = "",
        source: Source | None = None,
    ) -> Sequence:
        loop = self._loop
        opening = self._client.open(model, id, mode=mode, version=version, tenant=tenant, source=source)
        return Sequence(loop, loop.run(opening))

    def infer(
        self, model: str, value: Value, *, timeout: float | None = None, version: str = "", tenant: str = ""
    ) -> Result:
        return self._loop.run(self._client.infer(model, value, timeout=timeout, version=version, tenant=tenant))

    def generate(self, model: str, prompts: Prompts = None, **how: Unpack[Writing]) -> Iterator[Piece]:
        loop, coming = self._loop, self._client.generate(model, prompts, **how)
        try:
            while (piece := loop.run(_next(coming))) is not None:
                yield piece
        finally:
            with suppress(Unavailable):  # the client was closed, and all calls with it
                loop.run(coming.aclose())

    def write(self, model: str, prompts: Prompts = None, **how: Unpack[Writing]) -> list[Piece]:
        return self._loop.run(self._client.write(model, prompts, **how))


async def _next(coming: AsyncGenerator[Piece, None]) -> Piece | None:
    return await anext(coming, None)


class Sequence:
    """See `headrace.client.Sequence`."""

    def __init__(self, loop: Loop, sequence: AsyncSequence) -> None:
        self._loop, self._sequence = loop, sequence

    def __repr__(self) -> str:
        return f"blocking.{self._sequence}"

    @property
    def id(self) -> str:
        return self._sequence.id

    @property
    def version(self) -> str:
        return self._sequence.version

    @property
    def spec(self) -> ModelSpec:
        return self._sequence.spec

    @property
    def position(self) -> int:
        return self._sequence.position

    def step(self, value: Value, *, timeout: float | None = None) -> Result:
        return self._loop.run(self._sequence.step(value, timeout=timeout))

    def fork(self, copies: int | Several[str] = 1) -> list[Sequence]:
        return [Sequence(self._loop, copy) for copy in self._loop.run(self._sequence.fork(copies))]

    def reset(self) -> None:
        self._loop.run(self._sequence.reset())

    def close(self) -> None:
        self._loop.run(self._sequence.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
