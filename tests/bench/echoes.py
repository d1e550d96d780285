"""The echo in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

from headrace.bench.echo import Echo

T = TypeVar("T")
WIDTH = 12


@asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """Its address."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(Echo(WIDTH).handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def run(work: Coroutine[None, None, T]) -> T:
    """Never for ever."""
    return asyncio.run(asyncio.wait_for(work, 30))
