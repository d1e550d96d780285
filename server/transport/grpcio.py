"""gRPC's own server, where nghttp2 is not installed."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc

from .messages import Metadata


class Pulled:
    """What a client streams, one by one, as handlers want it."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = requests

    async def each(self, take: Callable[[Any], bool]) -> bool:
        """Hands over requests until `take` wants no more for now; whether there may be more."""
        async for request in self._requests:
            if not take(request):
                return True
        return False


class Queued:
    """A context of gRPC's, which takes answers one by one, as handlers want it. Mutable: `_unsent`."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context
        self._unsent: deque[Any] = deque()

    def send(self, answer: Any) -> bool:
        """Never room for the next."""
        self._unsent.append(answer)
        return False

    async def room(self) -> None:
        """Sends what there is."""
        while self._unsent:
            await self._context.write(self._unsent.popleft())

    async def write(self, answer: Any) -> None:
        self.send(answer)
        await self.room()

    async def abort(self, status: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> Any:
        return await self._context.abort(status, details, trailing_metadata)

    def time_remaining(self) -> float | None:
        remaining: float | None = self._context.time_remaining()
        return remaining

    def cancelled(self) -> bool:
        return bool(self._context.cancelled())


class Adapted(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC has no types
    """A service whose clients stream, as gRPC's server calls it."""

    def __init__(self, service: grpc.GenericRpcHandler) -> None:
        self._service = service

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a method; None if there is none."""
        handler = self._service.service(details)
        if handler is None or not handler.request_streaming:
            return handler
        codec = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(adapted(handler.stream_stream), *codec)
        return grpc.stream_unary_rpc_method_handler(adapted(handler.stream_unary), *codec)


def adapted(handle: Callable[[Pulled, Queued], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    """As gRPC's server calls it."""

    async def called(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
        return await handle(Pulled(requests), Queued(context))

    return called


class GrpcioServer:
    """A `grpc.aio` server on its port."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server, self.port = server, port

    async def stop(self, grace: float) -> None:
        """Takes no more calls, waits so many seconds for those there are, and ends them."""
        await self._server.stop(grace)


def options(most: int, silence: float) -> list[tuple[str, int]]:
    """For gRPC; most, silence: as in `listen`."""
    return [
        ("grpc.max_receive_message_length", most),
        ("grpc.max_send_message_length", -1),  # what was applied must be told, however large
        ("grpc.so_reuseport", 0),  # or a second server on the port would share its connections unnoticed
        ("grpc.keepalive_time_ms", round(1e3 * silence)),
        ("grpc.http2.ping_timeout_ms", round(1e3 * silence)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # clients may ask as well, as often
    ]


async def listen(address: str, services: Iterable[grpc.GenericRpcHandler], most: int, silence: float) -> GrpcioServer:
    """A started server of these services. most: bytes of a request; silence: seconds without a sign of life after which
    a client is asked for one, and after as many more given up. Raises OSError if the address cannot be had."""
    server = grpc.aio.server(options=options(most, silence))
    server.add_generic_rpc_handlers(tuple(Adapted(service) for service in services))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    await server.start()
    return GrpcioServer(server, port)
