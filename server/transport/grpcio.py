"""gRPC's own server, where nghttp2 is not installed."""

from __future__ import annotations

from collections.abc import Iterable

import grpc


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
    server.add_generic_rpc_handlers(tuple(services))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    await server.start()
    return GrpcioServer(server, port)
