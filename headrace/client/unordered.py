"""The rows of a stateless model: independent of each other, and safe to send twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import final

from headrace.errors import HeadraceError
from headrace.protos import sequences_pb2 as pb

from .codes import RETRIED
from .ledger import Ledger, Opening, Phase
from .settings import Settings
from .step import UNSENT, Step
from .tensors import Result


@final
class Unordered(Ledger):
    """A row's position is a tag, never used twice, by which its answer is found."""

    def __init__(
        self, key: int, opening: Opening, settings: Settings, opened: asyncio.Future[pb.Opened], by: float
    ) -> None:
        super().__init__(key, opening, settings, opened, by)
        self._sent: dict[int, Step] = {}
        self._tags = 0

    def __repr__(self) -> str:
        return f"Unordered(sent={len(self._sent)}, waiting={len(self.waiting)})"

    @property
    def position(self) -> int:
        return 0

    @property
    def sent(self) -> Iterator[Step]:
        return iter(self._sent.values())

    @property
    def idle(self) -> bool:
        return not (self._sent or self.waiting)

    def pending(self) -> Iterator[Step]:
        return chain(self._sent.values(), self.waiting)

    def forget(self) -> None:
        self._sent.clear()
        self.waiting.clear()

    def submit(self, step: Step) -> None:
        self.waiting.append(step)

    def sendable(self, now: float) -> bool:
        return self.phase is Phase.LIVE and now >= self.not_before

    def take(self) -> Step:
        step = self.waiting.popleft()
        if step.position == UNSENT:
            step.position, self._tags = self._tags, self._tags + 1
        self._sent[step.position] = step
        return step

    def give_up(self, step: Step) -> bool:
        if step in self.waiting:
            self.waiting.remove(step)
        self._sent.pop(step.position, None)
        return False  # rows of models without state are not cancelled

    def answered(self, position: int, result: Result) -> None:
        step = self._sent.pop(position, None)
        if step is not None:
            step.resolve(result)

    def refused(self, position: int, error: HeadraceError, now: float) -> None:
        step = self._sent.pop(position, None)
        if step is None:
            return
        if isinstance(error, RETRIED) and now + self.pause(error) < step.deadline and not step.given_up:
            self.not_before = max(self.not_before, now + self.pause(error))
            self.waiting.append(step)
        else:
            step.fail(error)

    def opened_at(self, position: int) -> None:
        self.waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
