"""A sequence as its user holds it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence as Several
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from headrace.errors import Unavailable
from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

from .calls import call, close, opened, start_close
from .connection import Connection
from .forks import fork
from .ledger import Ledger
from .settings import Settings
from .tensors import Result, Value


class Sequence:
    """Made by `Client.open`. Leaving an `async with` closes it, which ends it at the server."""

    def __init__(self, connection: Connection, settings: Settings, ledger: Ledger) -> None:
        self._connection, self._settings, self._ledger = connection, settings, ledger

    def __repr__(self) -> str:
        return f"Sequence({self.model}/{self.version}, {self.id!r}, position={self.position})"

    @property
    def id(self) -> str:
        return self._ledger.opening.id

    @property
    def model(self) -> str:
        return self._ledger.opening.model

    @property
    def version(self) -> str:
        """The version that it began on, and stays on."""
        return self._ledger.opened.result().version

    @property
    def spec(self) -> ModelSpec:
        assert self._ledger.served is not None
        return self._ledger.served.spec

    @property
    def position(self) -> int:
        """Time steps that are applied, as far as their answers have arrived."""
        return self._ledger.position

    async def step(self, value: Value, *, timeout: float | None = None) -> Result:  # noqa: ASYNC109 (it travels)
        """The next chunk: [time, *shape] for a model of one input, else a dict by name or a tuple in the spec's order.

        Returns [time, *shape], or [*shape] for an output without time axis; of several outputs a dict by name. The
        arrays are the caller's own: nobody else has them, and they keep nothing else in memory.
        `timeout` in seconds counts from this call on (default: `Settings.patience`). Numbers are converted: any to
        float32, integers to int64. Several steps may be under way: they are applied in the order of the calls, exactly
        once each, through any loss of connection. When one fails, those called before that was known fail with
        WrongPosition.

        Raises InvalidInput, ModelFailed: nothing was applied. Overloaded, Unavailable: not within the timeout, though
        it was retried. DeadlineExceeded: `position` tells after the next step whether it was applied after all.
        UnknownSequence, TakenOver: it is lost; reset() it, or open it again. A cancelled call leaves the sequence
        usable: the next step waits until it is known whether the cancelled one was applied.
        """
        return await call(self._connection, self._settings, self._ledger, value, timeout)

    async def reset(self) -> None:
        """Begins anew at position 0, when all steps under way are answered; also after the sequence was lost."""
        with suppress(Unavailable):  # the open that follows drops whatever is left of it
            await self.close()
        opening = replace(self._ledger.opening, mode=pb.REPLACE, incarnation=secrets.randbits(64) or 1)
        self._ledger = await opened(self._connection, self._settings, opening)

    async def fork(self, copies: int | Several[str] = 1) -> list[Self]:
        """So many sequences, or those of these ids, that go on from where this one stands, each on its own.

        An id of a fork is this one's up to its first `~`, if it has one, then `~`, then what you like. The forks begin
        where the sequence stands at the server: await the answers of the steps that they are to have behind them, and
        look at their `position`. All of them come to be, or none.
        Raises InvalidInput, AlreadyExists, UnknownSequence, Overloaded, or Unavailable.
        """
        ledgers = await fork(self._connection, self._settings, self._ledger, copies)
        return [type(self)(self._connection, self._settings, ledger) for ledger in ledgers]

    async def close(self) -> None:
        """Ends the sequence at the server, when all steps under way are answered.

        Raises Unavailable if the server is not reached in `Settings.patience`: there the sequence ends when it expires.
        """
        await close(self._connection, self._settings, self._ledger)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:  # it must not wait, nor be hidden by another
            start_close(self._connection, self._settings, self._ledger)
