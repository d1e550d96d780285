"""The way of a lane's answers to the event loop: in their order, whoever had the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident

from .steps import Answers

Deliver = Callable[[Answers], None]


class Outlet:
    """Called with a tick's answers by who has the lane. Where that is the event loop's own thread they are delivered at
    once, unless earlier ones are still on their way.

    Mutable: `_sent`, by who has the lane; `_heard`, on the event loop.
    """

    def __init__(self, deliver: Deliver, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """thread: the loop's, as `get_ident` names it."""
        self._deliver, self._loop, self._thread = deliver, loop, thread
        self._sent = self._heard = 0

    def __repr__(self) -> str:
        return f"Outlet(sent={self._sent}, heard={self._heard})"

    def __call__(self, answers: Answers) -> None:
        if self._sent == self._heard and get_ident() == self._thread:
            self._contained(answers)
        else:
            self._sent += 1
            self._loop.call_soon_threadsafe(self._arrive, answers)

    def _arrive(self, answers: Answers) -> None:
        """They count as heard once they are delivered: until then nothing overtakes them."""
        try:
            self._deliver(answers)
        finally:
            self._heard += 1

    def _contained(self, answers: Answers) -> None:
        """A fault in what callers do with their answers is not the lane's: the loop is told, as it is of others."""
        try:
            self._deliver(answers)
        except Exception as error:
            self._loop.call_exception_handler({"message": "answers were not delivered", "exception": error})
