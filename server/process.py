"""What a serving process asks of the libraries below it, before it imports them."""

from __future__ import annotations

import os

#: gRPC's own switch for what is new in it.
EXPERIMENTS = "GRPC_EXPERIMENTS"

#: gRPC's event engine passes every message through threads of its own. The poller that it replaced needs none of them
#: (docs/performance.md tells what that saves); a version of gRPC that has no choice any more logs a line and goes on.
ONE_POLLER = "-event_engine_listener,-event_engine_client"


def prepare() -> None:
    """Must come before the first import of grpc. What the operator has set stands."""
    os.environ.setdefault(EXPERIMENTS, ONE_POLLER)
