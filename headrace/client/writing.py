"""Texts as they come: `Generate` of one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum

import grpc
import numpy as np

from headrace.errors import HeadraceError, Unavailable
from headrace.protos import sequences_pb2 as pb

from .codes import from_status, from_wire
from .connection import Connection
from .settings import Settings


class Ending(StrEnum):
    """Why a text ended."""

    END = "end"
    """The model said so."""
    STOP = "stop"
    """A stop string came; the text ends before it."""
    MOST = "most"
    """It has `max_tokens`."""
    FULL = "full"
    """It is as long as the model takes."""
    LATE = "late"
    """Its time was up."""


ENDINGS: Mapping[int, Ending] = {
    pb.END: Ending.END,
    pb.STOP: Ending.STOP,
    pb.MOST: Ending.MOST,
    pb.FULL: Ending.FULL,
    pb.LATE: Ending.LATE,
}


@dataclass(frozen=True, slots=True)
class Piece:
    """What was added to one text, or all of it."""

    prompt: int
    """Which of the prompts, from 0."""
    copy: int
    """Which of its continuations, from 0."""
    text: str
    tokens: tuple[int, ...]
    ending: Ending | None
    """None: it goes on, or failed."""
    error: HeadraceError | None
    """Why it failed, if it did."""


#: Which of the prompts, and which of its continuations.
Place = tuple[int, int]

#: What a reply says of one text: its place, what was added, and with its last cell how it ended.
Cell = tuple[Place, str, Sequence[int], pb.GenerateReply.End | None]


async def pieces(
    connection: Connection, settings: Settings, request: pb.GenerateRequest
) -> AsyncGenerator[Piece, None]:
    """As they come. Closing it cancels what is not written yet. Raises what ends the call, or the only text of it."""
    async with aclosing(_replies(connection, settings, request)) as replies:
        async for reply in replies:
            for place, text, tokens, end in _cells(reply):
                yield _heard(request, _piece(place, text, tokens, end))


async def whole(connection: Connection, settings: Settings, request: pb.GenerateRequest) -> list[Piece]:
    """Each text in one piece, in the order of the prompts and of their continuations. Raises as `pieces` does."""
    texts: dict[Place, Grown] = {}
    async with aclosing(_replies(connection, settings, request)) as replies:
        async for reply in replies:
            for place, text, tokens, end in _cells(reply):
                texts.setdefault(place, Grown()).add(text, tokens, end)
    return [_heard(request, texts[place].piece(place)) for place in sorted(texts)]


@dataclass(slots=True, eq=False)
class Grown:
    """A text as far as it has come. Mutable, all of it."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    end: pb.GenerateReply.End | None = None

    def add(self, text: str, tokens: Sequence[int], end: pb.GenerateReply.End | None) -> None:
        self.texts.append(text)
        self.tokens += tokens
        self.end = end

    def piece(self, place: Place) -> Piece:
        return _piece(place, "".join(self.texts), self.tokens, self.end)


async def _replies(
    connection: Connection, settings: Settings, request: pb.GenerateRequest
) -> AsyncGenerator[pb.GenerateReply, None]:
    """Closing it cancels the call. Raises what ends it."""
    within = request.timeout_us * 1e-6 + settings.grace if request.timeout_us else None
    call = connection.generate(request, timeout=within)
    try:
        async for reply in call:
            yield reply
    except grpc.aio.AioRpcError as error:
        raise from_status(error.code(), error.details(), error.trailing_metadata()) from None
    except asyncio.CancelledError:
        if connection.open:  # else it is the channel that was closed, not the caller who was cancelled
            raise
        raise Unavailable("the client is closed") from None
    finally:
        call.cancel()


def _cells(reply: pb.GenerateReply) -> Iterator[Cell]:
    """What a reply says of its texts, in order."""
    ends, start = {end.cell: end for end in reply.ends}, 0
    prompts, copies = np.frombuffer(reply.prompts, "<u4").tolist(), np.frombuffer(reply.copies, "<u4").tolist()
    lengths, tokens = np.frombuffer(reply.lengths, "<i8").tolist(), np.frombuffer(reply.tokens, "<i8").tolist()
    columns = zip(prompts, copies, lengths, reply.texts, strict=True)
    for number, (prompt, copy, length, text) in enumerate(columns):
        yield (prompt, copy), text, tokens[start : start + length], ends.get(number)
        start += length


def _piece(place: Place, text: str, tokens: Sequence[int], end: pb.GenerateReply.End | None) -> Piece:
    prompt, copy = place
    if end is None:
        return Piece(prompt, copy, text, tuple(tokens), None, None)
    error = from_wire(end.error) if end.HasField("error") else None
    return Piece(prompt, copy, text, tuple(tokens), ENDINGS.get(end.ending), error)


def _heard(request: pb.GenerateRequest, piece: Piece) -> Piece:
    """The same. Raises the error of the only text that was asked for."""
    if piece.error is not None and len(request.prompts) * request.copies == 1:
        raise piece.error
    return piece
