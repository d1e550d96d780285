"""What a serving process chooses of the libraries below it."""

from __future__ import annotations

import asyncio
import os
import sys

#: gRPC's own switch for what is new in it.
EXPERIMENTS = "GRPC_EXPERIMENTS"

#: gRPC's event engine passes every message through threads of its own. The poller that it replaced needs none of them
#: (docs/performance.md tells what that saves); a version of gRPC that has no choice any more logs a line and goes on.
ONE_POLLER = "-event_engine_listener,-event_engine_client"


def prepare() -> None:
    """Must come before the first import of grpc. What the operator has set stands.

    It matters where gRPC's own server serves, and for clients in this process.
    """
    os.environ.setdefault(EXPERIMENTS, ONE_POLLER)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one: less code to bring back into the core's caches each time the runtime has run."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()
