"""`headrace.connect`: one connection, any number of sequences and callers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from random import random as uniform
from types import TracebackType
from typing import Literal, Self, Unpack

from headrace.errors import InvalidInput, Unavailable, UnknownModel
from headrace.protos import sequences_pb2 as pb

from .calls import call, opened
from .connection import Clock, Connection
from .ledger import Ledger, Opening
from .prompts import Prompts, Source, Writing, read_source, request
from .sequence import Sequence
from .served import ServedModel
from .settings import Settings
from .tensors import Result, Value
from .writing import Piece, pieces, whole

MODES = {"fresh": pb.FRESH, "resume": pb.RESUME, "replace": pb.REPLACE}


class Client:
    """Use it as `async with Client(address) as c`. Callers of one client share its frames.

    It reconnects on its own, resumes its sequences where they stood and sends again what was not answered, so that each
    step is applied exactly once. Leaving the `async with` leaves sequences that are not closed to the server, to be
    resumed until they expire.
    """

    def __init__(
        self,
        address: str,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        random: Callable[[], float] = uniform,
    ) -> None:
        self._address = address
        self._settings = settings or Settings()
        self._clock, self._random = clock, random
        self._connection: Connection | None = None
        self._stateless: dict[tuple[str, str, str], asyncio.Task[Ledger]] = {}

    def __repr__(self) -> str:
        return f"Client({self._address}, {self._connection})"

    async def __aenter__(self) -> Self:
        """Raises Unavailable if no server answers."""
        clock = self._clock or asyncio.get_running_loop()
        self._connection = Connection(self._address, self._settings, clock, self._random)
        try:
            await self._connection.start()
        except BaseException:
            await self._connection.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, self._connection = self._live, None
        await connection.stop()
        await asyncio.gather(*self._stateless.values(), return_exceptions=True)

    async def models(self) -> list[ServedModel]:
        """Name, version, spec and device of all that is served."""
        return await self._live.models()

    async def find(self, model: str) -> ServedModel:
        """The newest version of `model` in the list that the server gave last, or gives now. Raises UnknownModel."""
        known = self._live.catalogue.newest(model)
        if known is None:
            served = await self.models()
            known = self._live.catalogue.newest(model)
        if known is None:
            there = ", ".join(sorted({m.name for m in served})) or "none"
            raise UnknownModel(f"no model {model!r} is served here; there are: {there}")
        return known

    async def open(
        self,
        model: str,
        id: str | None = None,
        *,
        mode: Literal["fresh", "resume", "replace"] = "fresh",
        version: str = "",
        tenant: str = "",
        source: Source | None = None,
    ) -> Sequence:
        """Opens a sequence of a model with state. Without `id` it gets a random one; without `version` the newest.

        fresh: from position 0, AlreadyExists if that id is live; replace: from position 0, what was live is dropped;
        resume: from where it stands, taken over from whoever had it, UnknownSequence if it is not live.
        source: what a sequence of a model with a start graph begins with: text in its symbols, or a value for its
        inputs, as for a step.
        Raises these, UnknownModel, Overloaded, Unavailable, or InvalidInput for a stateless model.
        """
        if id == "":
            raise InvalidInput("a sequence's id has 1 to 128 bytes; leave it out for a random one")
        spec = (await self.find(model)).spec
        if not spec.stateful:
            raise InvalidInput(f"the model {model} has no state, so there is no sequence to open: use infer()")
        cells, incarnation = () if source is None else read_source(spec, source), secrets.randbits(64) or 1
        opening = Opening(model, version, id or secrets.token_hex(16), MODES[mode], incarnation, tenant, cells)
        return Sequence(self._live, self._settings, await opened(self._live, self._settings, opening))

    async def infer(
        self,
        model: str,
        value: Value,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (it travels with the step)
        version: str = "",
        tenant: str = "",
    ) -> Result:
        """One row through a stateless model; arguments, result and errors as for `Sequence.step`."""
        if (await self.find(model)).spec.stateful:
            raise InvalidInput(f"the model {model} has state: open() a sequence of it and step() that")
        ledger = await self._row_ledger(model, version, tenant)
        return await call(self._live, self._settings, ledger, value, timeout)

    async def generate(
        self, model: str, prompts: Prompts = None, **how: Unpack[Writing]
    ) -> AsyncGenerator[Piece, None]:
        """Texts that the model writes on, in pieces as they come. prompts: one or a list, each text or token ids; none
        for a text from the beginning. See `Writing` for `how`.

        Closing the iterator (`contextlib.aclosing`, or just leaving it) ends the texts at once. A call that breaks off
        is not made again on its own, since what came is yours already: with the same seed the same texts come again, or
        go on with what came as part of the prompt.
        The only text of a call that fails raises its error; of several, it is its piece's `error`. Raises InvalidInput,
        UnknownModel, Overloaded, DeadlineExceeded, Unavailable or ModelFailed for the call as a whole.
        """
        asked = request(model, (await self.find(model)).spec, prompts, **how)
        async with aclosing(pieces(self._live, self._settings, asked)) as coming:
            async for piece in coming:
                yield piece

    async def write(self, model: str, prompts: Prompts = None, **how: Unpack[Writing]) -> list[Piece]:
        """The same texts when all have ended, each whole: prompt after prompt, its copies one after the other."""
        return await whole(self._live, self._settings, request(model, (await self.find(model)).spec, prompts, **how))

    async def _row_ledger(self, model: str, version: str, tenant: str) -> Ledger:
        """Opened once for all callers, and again once it died."""
        name = (model, version, tenant)
        task = self._stateless.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() or task.result().dead)):
            opening = Opening(model, version, "", pb.FRESH, 0, tenant)
            task = asyncio.create_task(opened(self._live, self._settings, opening))
            self._stateless[name] = task
        return await asyncio.shield(task)

    @property
    def _live(self) -> Connection:
        if self._connection is None:
            raise Unavailable("the client is not connected; use it inside `async with`")
        return self._connection
