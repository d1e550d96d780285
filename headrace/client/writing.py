"""Texts as they come: `Generate` of one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import grpc

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


async def pieces(
    connection: Connection, settings: Settings, request: pb.GenerateRequest
) -> AsyncGenerator[Piece, None]:
    """As they come. Closing it cancels what is not written yet. Raises what ends the call, or the only text of it."""
    alone = len(request.prompts) * request.copies == 1
    within = request.timeout_us * 1e-6 + settings.grace if request.timeout_us else None
    call = connection.generate(request, timeout=within)
    try:
        async for reply in call:
            for piece in map(_piece, reply.parts):
                if alone and piece.error is not None:
                    raise piece.error
                yield piece
    except grpc.aio.AioRpcError as error:
        raise from_status(error.code(), error.details(), error.trailing_metadata()) from None
    except asyncio.CancelledError:
        if connection.open:  # else it is the channel that was closed, not the caller who was cancelled
            raise
        raise Unavailable("the client is closed") from None
    finally:
        call.cancel()


def whole(pieces: Iterable[Piece]) -> list[Piece]:
    """Each text in one piece, in the order of the prompts and of their continuations."""
    texts: dict[tuple[int, int], list[Piece]] = {}
    for piece in pieces:
        texts.setdefault((piece.prompt, piece.copy), []).append(piece)
    return [_joined(texts[place]) for place in sorted(texts)]


def _joined(pieces: Sequence[Piece]) -> Piece:
    last, text = pieces[-1], "".join([piece.text for piece in pieces])
    tokens = tuple([token for piece in pieces for token in piece.tokens])
    return Piece(last.prompt, last.copy, text, tokens, last.ending, last.error)


def _piece(part: pb.GenerateReply.Part) -> Piece:
    error = from_wire(part.error) if part.HasField("error") else None
    return Piece(part.prompt, part.copy, part.text, tuple(part.tokens), ENDINGS.get(part.ending), error)
