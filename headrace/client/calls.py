"""The waits of callers: an open, a step, a close. What a cancelled caller leaves behind is put in order here."""

from __future__ import annotations

import asyncio

from headrace.errors import HeadraceError, InvalidInput, UnknownModel
from headrace.protos import sequences_pb2 as pb

from .codes import again
from .connection import Connection
from .ledger import Ledger, Opening
from .served import ServedModel
from .settings import Settings
from .step import Step
from .tensors import Result, Value, pack


async def opened(connection: Connection, settings: Settings, opening: Opening) -> Ledger:
    """A ledger that is open and knows its model. Raises what the server answers."""
    answer: asyncio.Future[pb.Opened] = asyncio.get_running_loop().create_future()
    ledger = connection.session.open(opening, answer, connection.clock.time() + settings.patience)
    try:
        ledger.served = await _served(connection, opening.model, (await answer).version)
    except BaseException:
        start_close(connection, settings, ledger)
        raise
    return ledger


async def _served(connection: Connection, model: str, version: str) -> ServedModel:
    served = connection.catalogue.find(model, version)
    if served is None:
        await connection.models()
        served = connection.catalogue.find(model, version)
    if served is None:
        raise UnknownModel(f"the server does not list version {version} of {model}, which it opened; retry")
    return served


async def call(
    connection: Connection, settings: Settings, ledger: Ledger, value: Value, within: float | None
) -> Result:
    """One step of an open ledger, to its answer; `within` so many seconds."""
    assert ledger.served is not None
    values, length = pack(ledger.served.spec, value)
    deadline = connection.clock.time() + (settings.patience if within is None else seconds(within))
    step = Step(ledger.key, values, length, deadline, connection.loop.create_future())
    connection.session.submit(ledger, step)
    try:
        return await step.answer
    except asyncio.CancelledError:
        connection.session.give_up(ledger, step)
        raise


def seconds(timeout: float) -> float:
    """Checked here, where it can only fail its own caller."""
    if not timeout >= 0:  # so written, NaN is refused too
        raise InvalidInput(f"a timeout is in seconds, 0 or more, inf for none; got {timeout}")
    return timeout


async def close(connection: Connection, settings: Settings, ledger: Ledger) -> None:
    """Waits until all its steps are answered and the server let go of it. A second close waits for the first.

    Raises Unavailable if the server cannot be reached in time: the sequence then ends there when it expires.
    """
    start_close(connection, settings, ledger)
    assert ledger.closed is not None
    error = await asyncio.shield(ledger.closed)
    if error is not None:
        raise again(error)


def start_close(connection: Connection, settings: Settings, ledger: Ledger) -> None:
    """Asks for it, and waits for nothing."""
    if ledger.closed is None:
        closed: asyncio.Future[HeadraceError | None] = asyncio.get_running_loop().create_future()
        connection.session.close(ledger, closed, connection.clock.time() + settings.patience)
