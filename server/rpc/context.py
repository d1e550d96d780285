"""What the handler of a call asks of whatever carries it (../transport/)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import grpc

R_co = TypeVar("R_co", covariant=True)


class Context(Protocol):
    """Of one call, on the event loop. A `grpc.aio` server's context is one."""

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


class StreamContext(Context, Protocol):
    """Of one whose client streams."""

    def send(self, message: Any, /) -> bool:
        """One more answer, at once. Whether there is room for the next; if not, `room` must be awaited."""

    async def room(self) -> None:
        """Returns when there is room for the next answer. Raises CancelledError in a call that is over."""


class Requests(Protocol[R_co]):
    """What the client of a call streams."""

    async def each(self, take: Callable[[R_co], bool], /) -> bool:
        """Hands over each request as it comes, until `take` wants no more for now; whether there may be more.

        take: called on the event loop, with nobody else's turn in between. It must not raise.
        """
