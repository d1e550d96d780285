"""The client for code without asyncio: the same objects, driven by one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from threading import Thread
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from .client import Client as AsyncClient
from .client import Result, ServedModel, Settings, Value
from .client import Sequence as AsyncSequence
from .errors import Unavailable
from .spec import ModelSpec

T = TypeVar("T")


def connect(address: str, settings: Settings | None = None) -> Client:
    """For `with`. Raises Unavailable on entering if no server answers at `address` ("host:port")."""
    return Client(address, settings)


class _Loop:
    """One event loop in one thread; any other thread may run coroutines on it and wait."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise Unavailable("the client is closed") from None
        except BaseException:
            future.cancel()  # an interrupted wait (Ctrl-C) gives the step up, as a cancelled task does
            raise

    def stop(self) -> None:
        self.run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end_tasks(self) -> None:
        """Waits of other threads, so that none of them waits for ever."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Client:
    """See `headrace.client.Client`. Any number of threads may use it, and share its frames."""

    def __init__(self, address: str, settings: Settings | None = None) -> None:
        self._client = AsyncClient(address, settings)
        self._running: _Loop | None = None

    def __repr__(self) -> str:
        return f"blocking.{self._client}"

    def __enter__(self) -> Self:
        """Raises Unavailable if no server answers."""
        self._running = _Loop()
        try:
            self._running.run(self._client.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; sequences that are not closed live on at the server until they expire."""
        if self._running is not None:
            self._running.run(self._client.__aexit__(None, None, None))
            self._stop()

    def _stop(self) -> None:
        self._loop.stop()
        self._running = None

    @property
    def _loop(self) -> _Loop:
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
    ) -> Sequence:
        work = self._client.open(model, id, mode=mode, version=version, tenant=tenant)
        return Sequence(self._loop, self._loop.run(work))

    def infer(
        self, model: str, value: Value, *, timeout: float | None = None, version: str = "", tenant: str = ""
    ) -> Result:
        return self._loop.run(self._client.infer(model, value, timeout=timeout, version=version, tenant=tenant))


class Sequence:
    """See `headrace.client.Sequence`."""

    def __init__(self, loop: _Loop, sequence: AsyncSequence) -> None:
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
