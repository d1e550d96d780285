"""Forks: new sequences that go on from where one stands."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace

from headrace.errors import InvalidInput
from headrace.protos import sequences_pb2 as pb

from .calls import opened, start_close
from .codes import again
from .connection import Connection
from .ledger import Ledger
from .settings import Settings

#: What stands before the first one in an id decides where a sequence lives at the server.
MARK = "~"

#: Bytes of a random fork's name behind the mark, before they are written as twice as many digits.
RANDOM = 8


async def fork(connection: Connection, settings: Settings, ledger: Ledger, copies: int | Sequence[str]) -> list[Ledger]:
    """Open ledgers of the new sequences. Raises what the server answers."""
    if ledger.dead:
        raise again(ledger.error)
    told, ids = ledger.opening, _ids(ledger.opening.id, copies)
    opening = replace(
        told, mode=pb.RESUME, version=ledger.opened.result().version, incarnation=secrets.randbits(64) or 1
    )
    await connection.fork(
        pb.ForkRequest(
            model=told.model,
            version=opening.version,
            tenant=told.tenant,
            id=told.id,
            copies=ids,
            incarnation=opening.incarnation,
        )
    )
    opens = [opened(connection, settings, replace(opening, id=id)) for id in ids]
    return _all(connection, settings, await asyncio.gather(*opens, return_exceptions=True))


def _ids(id: str, copies: int | Sequence[str]) -> list[str]:
    if not isinstance(copies, int):
        return [copies] if isinstance(copies, str) else list(copies)
    if copies < 1:
        raise InvalidInput(f"a fork is one sequence or more, not {copies}")
    stem = id.partition(MARK)[0] + MARK
    return [stem + secrets.token_hex(RANDOM) for _ in range(copies)]


def _all(connection: Connection, settings: Settings, results: Sequence[Ledger | BaseException]) -> list[Ledger]:
    """All of them; if one could not be opened, the others are closed. Raises its error."""
    ledgers = [result for result in results if isinstance(result, Ledger)]
    for error in (result for result in results if isinstance(result, BaseException)):
        for ledger in ledgers:
            start_close(connection, settings, ledger)
        raise error
    return ledgers
