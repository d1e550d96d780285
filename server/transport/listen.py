"""The port, by whichever gRPC can be had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import grpc

from headrace.errors import ConfigurationError

from . import grpcio, http2
from .library import library

Transport = Literal["auto", "nghttp2", "grpcio"]


class Server(Protocol):
    """One that takes calls."""

    @property
    def port(self) -> int: ...

    async def stop(self, grace: float) -> None:
        """Takes no more, waits so many seconds for the calls there are, and ends them."""


def authority(host: str, port: int) -> str:
    """As gRPC and URLs have it: an address of IPv6 stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def listen(
    transport: Transport, host: str, port: int, services: Iterable[grpc.GenericRpcHandler], most: int, silence: float
) -> Server:
    """A server of these services. transport: `auto` takes nghttp2 where it is installed.

    most: bytes of a request, beyond which its call ends; silence: seconds without a sign of life after which a client
    is asked for one, and after as many more given up. Raises ConfigurationError if nothing can listen so.
    """
    if transport == "nghttp2" and library() is None:
        raise ConfigurationError("the library nghttp2 is not installed; choose --transport grpcio, or install it")
    ours = transport != "grpcio" and library() is not None
    try:
        if ours:
            return await http2.listen(host, port, services, most, silence)
        return await grpcio.listen(authority(host, port), services, most, silence)
    except OSError as error:
        raise ConfigurationError(
            f"port {port} of {host} cannot be used; is another server running? Choose another with --port"
        ) from error
