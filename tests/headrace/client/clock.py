"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Alarm:
    when: float
    callback: Callable[[], None]
    off: bool = False

    def cancel(self) -> None:
        self.off = True


class FakeClock:
    def __init__(self) -> None:
        self._now = 1000.0
        self._alarms: list[Alarm] = []
        self._set = asyncio.Event()

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        self._alarms.append(Alarm(when, callback))
        self._set.set()
        return self._alarms[-1]

    async def due(self, seconds: float) -> None:
        """Returns once something is to ring within so many seconds."""
        while not any(not alarm.off and alarm.when <= self._now + seconds for alarm in self._alarms):
            self._set.clear()
            await self._set.wait()

    def advance(self, seconds: float) -> None:
        """Rings what falls due on the way, in order."""
        end = self._now + seconds
        while due := [a for a in self._alarms if not a.off and a.when <= end]:
            alarm = min(due, key=lambda a: a.when)
            self._now, alarm.off = max(self._now, alarm.when), True
            alarm.callback()
        self._alarms = [a for a in self._alarms if not a.off]
        self._now = end
