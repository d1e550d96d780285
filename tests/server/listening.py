"""Services on a free port, by either transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from headrace.server.transport.library import library
from headrace.server.transport.listen import Server, Transport, listen

NGHTTP2 = pytest.param(
    "nghttp2", marks=pytest.mark.skipif(library() is None, reason="the library nghttp2 is not installed")
)

#: For tests that are to hold over either.
either = pytest.mark.parametrize("transport", [NGHTTP2, "grpcio"])

MOST = 4 << 20
SILENCE = 30.0


async def started(*services: grpc.GenericRpcHandler, transport: Transport = "auto", most: int = MOST) -> Server:
    return await listen(transport, "127.0.0.1", 0, services, most, SILENCE)


@asynccontextmanager
async def listening(
    *services: grpc.GenericRpcHandler, transport: Transport = "auto", most: int = MOST
) -> AsyncIterator[int]:
    """Their port. The server ends with the block, and waits for nobody."""
    server = await started(*services, transport=transport, most=most)
    try:
        yield server.port
    finally:
        await server.stop(0)


@asynccontextmanager
async def channel_to(
    *services: grpc.GenericRpcHandler, transport: Transport = "auto", most: int = MOST
) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        listening(*services, transport=transport, most=most) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel
