"""One connection to a server of frames, for load generators: columns in, columns out, no object for a row."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
from numpy.typing import NDArray

from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

METHOD = "/headrace.v1.Sequences/Stream"

#: Opens in a frame: fewer than a server lets wait.
OPENS = 1024

#: Else connections of one process to one address would be one; and answers may share a frame, however large.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


class Connection:
    """A stream on a connection of its own. Mutable: `_name` tells its sequences from all others."""

    def __init__(self, address: str, spec: ModelSpec) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._call = self._channel.stream_stream(
            METHOD, request_serializer=pb.Request.SerializeToString, response_deserializer=pb.Reply.FromString
        )()
        self._name = secrets.token_hex(4)
        self.spec = spec

    async def open(self, rows: int) -> None:
        """New sequences under the keys 0 … rows. Raises RuntimeError if the server refuses one."""
        self._name = secrets.token_hex(4)
        for first in range(0, rows, OPENS):
            keys = range(first, min(rows, first + OPENS))
            await self.write(pb.Request(opens=[self._open(key) for key in keys]))
            opened = 0
            while opened < len(keys):
                opened += len((await self.read()).opened)

    def _open(self, key: int) -> pb.Open:
        name = f"{self._name}-{key}"
        return pb.Open(key=key, model=self.spec.name, id=name, mode=pb.REPLACE, incarnation=secrets.randbits(64))

    async def write(self, request: pb.Request) -> None:
        await self._call.write(request)

    async def read(self) -> pb.Reply:
        """The next reply. Raises RuntimeError if it tells of an error, or the stream ended."""
        reply = await self.read_or_end()
        if reply is None:
            raise RuntimeError("the server ended the stream")
        return reply

    async def read_or_end(self) -> pb.Reply | None:
        """None at the end of the stream. Raises RuntimeError if the reply tells of an error."""
        reply = await self._call.read()
        if not isinstance(reply, pb.Reply):
            return None
        if reply.errors:
            raise RuntimeError(f"the server refused: {reply.errors[0].message}")
        return reply

    async def close(self, rows: int) -> None:
        """Closes the sequences 0 … rows, all of which are answered."""
        for first in range(0, rows, OPENS):
            closes = keys(min(rows, first + OPENS))[4 * first :]
            await self.write(pb.Request(closes=closes))
            closed = 0
            while closed < len(closes):
                closed += len((await self.read()).closed)

    async def finish(self) -> None:
        """Nothing more is written; what is under way will still be answered."""
        await self._call.done_writing()

    async def end(self) -> None:
        """In peace: all that the server still says is read."""
        await self.finish()
        while await self._call.read() is not grpc.aio.EOF:
            pass

    async def cut(self) -> None:
        await self._channel.close()


@asynccontextmanager
async def connected(address: str, spec: ModelSpec, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections; they end with the block, in peace if it does."""
    made = [Connection(address, spec) for _ in range(count)]
    try:
        yield made
        await asyncio.gather(*(connection.end() for connection in made))
    finally:
        await asyncio.gather(*(connection.cut() for connection in made))


def keys(rows: int) -> bytes:
    """The keys 0 … rows as a column."""
    return np.arange(rows, dtype="<u4").tobytes()


def answered(reply: pb.Reply) -> NDArray[np.uint32]:
    """[rows] the keys of the steps that a reply answers."""
    return np.frombuffer(b"".join(stepped.keys for stepped in reply.stepped), "<u4")


def column(values: NDArray[np.int64]) -> bytes:
    return values.astype("<i8", copy=False).tobytes()
