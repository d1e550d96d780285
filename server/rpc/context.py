"""What the handler of a call asks of whatever carries it: a `grpc.aio` server's context has it, and so has ours."""

from __future__ import annotations

from typing import Any, Protocol

import grpc


class Context(Protocol):
    """Of one call, on the event loop."""

    async def write(self, message: Any, /) -> None:
        """One more answer; returns when there is room for the next."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, str], ...] = (), /
    ) -> Any:
        """Ends the call with this status; raises."""

    def time_remaining(self) -> float | None:
        """Seconds until the client gives up; None if it does not."""

    def cancelled(self) -> bool:
        """Whether the client is gone."""
