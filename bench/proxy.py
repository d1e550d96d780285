"""A TCP proxy on loopback whose connections can be cut or frozen: what a lost network looks like to a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK = 1 << 16


class Proxy:
    """Mutable: `_writers`, both ends of each open connection, and `_frozen`, those to which nothing comes through."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0  # calls of `cut`
        self.broken = 0  # connections that were open then
        self._frozen: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Ends all connections at once, without a goodbye."""
        self.cuts += 1
        self.broken += len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Nothing comes through on today's connections any more, and nobody is told; later ones work."""
        self._frozen |= self._writers

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries bytes both ways until either end is gone."""
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        finally:
            self._writers -= ends
            self._frozen -= ends

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if writer not in self._frozen:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy for "host:port", and its own address."""
    made = Proxy(target)
    server = await asyncio.start_server(made.join, "127.0.0.1", 0)
    try:
        yield made, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        made.cut()
