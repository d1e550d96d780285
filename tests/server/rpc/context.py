"""The context of a call that nobody carries."""

from __future__ import annotations

import asyncio
from typing import Any


class Told:
    """Mutable: `messages`, what was sent; `asked`, once somebody waits for room, which there is, or never."""

    def __init__(self, *, room: bool = True) -> None:
        self._room = room
        self.messages: list[Any] = []
        self.asked = asyncio.Event()

    def send(self, message: Any) -> bool:
        self.messages.append(message)
        return self._room

    async def room(self) -> None:
        self.asked.set()
        if not self._room:
            await asyncio.Event().wait()

    async def write(self, message: Any) -> None:
        self.send(message)

    async def abort(self, code: Any, details: str = "", trailing_metadata: tuple[tuple[str, str], ...] = ()) -> None:
        raise AssertionError(f"nobody ends this call: {details}")

    def time_remaining(self) -> float | None:
        return None

    def cancelled(self) -> bool:
        return False
