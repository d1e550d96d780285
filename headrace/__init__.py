"""Headrace: stateful sequence models from PyTorch, served with their state kept.

async with headrace.connect("localhost:8001") as c:
    s = await c.open("vowels-gru", "sensor-42")
    y = await s.step(x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import errors
from .errors import HeadraceError
from .ragged import Ragged
from .spec import ModelSpec

if TYPE_CHECKING:
    from headrace.client import Client, Settings

    from .blocking import Client as BlockingClient

__all__ = ["HeadraceError", "ModelSpec", "Ragged", "connect", "connect_blocking", "errors"]

# The client, and gRPC with it, is imported when it is asked for: training and export do without.


def connect(address: str, settings: Settings | None = None) -> Client:
    """For `async with`. Raises Unavailable on entering if no server answers at `address` ("host:port")."""
    from headrace.client import Client

    return Client(address, settings)


def connect_blocking(address: str, settings: Settings | None = None) -> BlockingClient:
    """For `with`: the same client for code without asyncio."""
    from .blocking import connect

    return connect(address, settings)
