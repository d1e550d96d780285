"""Who has a lane: its own thread or, for one turn, whoever brings work while that thread is at rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Lock

from .commands import Command


class Turns:
    """Commands in the order in which they were posted, and the right to handle them.

    Whoever has the lane, and nobody else, takes commands, oldest first: so none is lost or overtaken, whoever that is.
    The lane's thread owns it, and gives it up only while it rests.

    Mutable: `_commands`; `_had`, locked while somebody has the lane; `_resting`: the thread waits, or is about to, so
    that who posts has to ring; `_owed`: a borrower has left work to the thread, and nobody borrows before that is done.
    """

    def __init__(self) -> None:
        self._commands: deque[Command | None] = deque()
        self._had, self._bell = Lock(), SimpleQueue[None]()
        self._resting = self._owed = False

    def __repr__(self) -> str:
        return f"Turns(commands={len(self._commands)}, had={self._had.locked()})"

    @property
    def quiet(self) -> bool:
        """Whether nothing was posted that is not taken."""
        return not self._commands

    def post(self, command: Command | None) -> None:
        """From any thread."""
        self._commands.append(command)
        if self._resting:
            self._bell.put(None)

    def borrow(self, command: Command) -> bool:
        """Posts it; whether the lane is the caller's now, with this command to take first. From any thread."""
        if self._had.acquire(blocking=False):
            if not (self._commands or self._owed):
                self._commands.append(command)
                return True
            self._had.release()
        self.post(command)
        return False

    def give_back(self, *, more: bool) -> None:
        """more: whether there is work left, for which the thread is woken up."""
        self._owed = more
        self._had.release()
        if more:
            self._bell.put(None)

    def take(self) -> Iterator[Command | None]:
        """What was posted, and what is meanwhile. Only for who has the lane."""
        while self._commands:
            yield self._commands.popleft()

    def own(self) -> None:
        """For the lane's thread, once."""
        self._had.acquire()

    def rest(self, seconds: float | None) -> None:
        """Gives the lane up until there is something for the thread to do, but no longer than that. For it alone."""
        self._resting = True
        if not self._commands:  # from here on who posts rings
            self._had.release()
            self._wait(seconds)
            self._had.acquire()
        self._resting = self._owed = False

    def _wait(self, seconds: float | None) -> None:
        """Rings that came together are one."""
        try:
            self._bell.get(timeout=seconds)
            while not self._bell.empty():
                self._bell.get_nowait()
        except Empty:
            pass
