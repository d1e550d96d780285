"""A sequence as its client keeps it: which steps were sent where, what is answered, and what goes out next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import final

from headrace.errors import DeadlineExceeded, HeadraceError, WrongPosition
from headrace.protos import sequences_pb2 as pb

from .codes import FATAL, RETRIED
from .ledger import Ledger, Opening, Phase
from .place import Place
from .settings import Settings
from .step import Step
from .tensors import Result


@final
class Ordered(Ledger):
    """Steps get their positions as they are written (`Place`). Once one was refused or given up, nothing more is
    written until all that was sent is answered (`settling`): only then is it known where the sequence stands. What was
    refused for a while, and what was refused for standing behind such a step, is `parked` until then, and goes again.

    A step that failed or was given up is void. Steps called before that was known relied on it and fail as well; those
    called later do not. Void steps are counted, so that two numbers tell: `Step.called_at` and `Step.voided_at`.
    """

    def __init__(
        self, key: int, opening: Opening, settings: Settings, opened: asyncio.Future[pb.Opened], by: float
    ) -> None:
        super().__init__(key, opening, settings, opened, by)
        self._place = Place()
        self._sent: deque[Step] = deque()
        self._parked: list[tuple[Step, HeadraceError]] = []
        self._settling = False
        self._voided = 0  # void steps so far
        self._failed = 0  # the last of them that failed: what waits and relied on it fails when all is settled

    def __repr__(self) -> str:
        return f"Ordered(position={self.position}, sent={len(self._sent)}, waiting={len(self.waiting)})"

    @property
    def position(self) -> int:
        return self._place.answered

    @property
    def sent(self) -> Iterator[Step]:
        return iter(self._sent)

    @property
    def idle(self) -> bool:
        return not (self._sent or self.waiting or self._parked)

    def pending(self) -> Iterator[Step]:
        return chain(self._sent, (s for s, _ in self._parked), self.waiting)

    def forget(self) -> None:
        self._sent.clear()
        self._parked.clear()
        self.waiting.clear()

    # Out

    def submit(self, step: Step) -> None:
        step.called_at = self._voided
        self.waiting.append(step)

    def sendable(self, now: float) -> bool:
        return (
            not self._settling
            and len(self._sent) < self._settings.pipeline
            and self.phase is Phase.LIVE
            and now >= self.not_before
        )

    def take(self) -> Step:
        step = self.waiting.popleft()
        self._place.write(step)
        self._sent.append(step)
        step.acked = self._sent[0].position
        return step

    def give_up(self, step: Step) -> bool:
        if self._place.applied(step):
            return False
        self._void(step)
        if step in self._sent:
            self._settling = True
            return True
        if step in self.waiting:
            self._withdraw(step)
        return False  # else parked, or answered in the meantime

    def _void(self, step: Step) -> None:
        if not step.voided_at:
            self._voided += 1
            step.voided_at = self._voided

    def _withdraw(self, step: Step) -> None:
        place = self.waiting.index(step)
        behind = [self.waiting.pop() for _ in range(len(self.waiting) - place)][:-1]
        for follower in reversed(behind):
            if follower.relies_on(step.voided_at):
                follower.fail(_stands_at(self._place.written))
            else:
                self.waiting.append(follower)

    # In

    def answered(self, position: int, result: Result) -> None:
        step = self._pop(position)
        if step is not None:
            self._place.answer(step)
            step.resolve(result)
            if self._settling:
                self._settle()

    def refused(self, position: int, error: HeadraceError, now: float) -> None:
        if isinstance(error, FATAL):
            return self.fail(error)
        step = self._pop(position)
        if step is not None and self._place.applied(step):
            self._not_answered_again(step, error, now)
        elif step is not None:
            self._not_applied(step, error, now)
        return self._settle()

    def opened_at(self, position: int) -> None:
        if self.opened.done() and not self._place.explains(position):
            return self.fail(_moved(self._place.written, position))
        again = sorted([*self._sent, *(s for s, _ in self._parked)], key=_position)
        self._sent.clear()
        self._parked.clear()
        self._place.reopened_at = position
        return self._write_from([(step, None) for step in again], position)

    def _not_applied(self, step: Step, error: HeadraceError, now: float) -> None:
        self._settling = True
        if error.expected_position is not None:
            self._place.server_position = error.expected_position
        if isinstance(error, WrongPosition):
            self._parked.append((step, error))
        elif not self._retried(step, error, now):
            self._drop(step, error)

    def _not_answered_again(self, step: Step, error: HeadraceError, now: float) -> None:
        """Steps behind it are none the worse for that."""
        if not self._retried(step, error, now):
            step.fail(DeadlineExceeded(f"the step is applied, but its answer was lost with the connection: {error}"))

    def _retried(self, step: Step, error: HeadraceError, now: float) -> bool:
        again_at = now + self.pause(error)
        if not isinstance(error, RETRIED) or again_at >= step.deadline:
            return False
        self._settling, self.not_before = True, max(self.not_before, again_at)
        self._parked.append((step, error))
        return True

    def _pop(self, position: int) -> Step | None:
        """The step sent at `position`: nearly always the first one, but refusals overtake."""
        sent = self._sent
        if sent and sent[0].position == position:
            return sent.popleft()
        for step in sent:
            if step.position == position:
                sent.remove(step)
                return step
        return None

    def _settle(self) -> None:
        """When all that was sent is answered, what was parked and what waits can go on."""
        if self._settling and not self._sent:
            parked, self._parked = sorted(self._parked, key=lambda pair: _position(pair[0])), []
            self._write_from(parked, self._place.settled())

    def _write_from(self, candidates: Sequence[tuple[Step, HeadraceError | None]], start: int) -> None:
        """Writing goes on at `start`, with those candidates [by position] that join up from there; others fail."""
        applied = [step for step, _ in candidates if self._place.applied(step)]
        at, again = start, list[Step]()
        for step, error in candidates[len(applied) :]:
            out_of_place = isinstance(error, WrongPosition) and not again  # not for want of one that goes again now
            if step.position == at and not out_of_place and not step.given_up:
                again.append(step)
                at = step.end
            else:
                self._drop(step, error or _stands_at(at))
        self._place.begin_at(start)
        self._settling = False
        self.waiting = deque([*(step for step in applied if not step.given_up), *again, *self._still_wanted(at)])

    def _still_wanted(self, at: int) -> Iterator[Step]:
        for step in self.waiting:
            if step.relies_on(self._failed) and not self._place.applied(step):
                step.fail(_stands_at(at))
            else:
                yield step

    def _drop(self, step: Step, error: HeadraceError) -> None:
        """The step fails, and with it those that were called before that was known."""
        self._void(step)
        step.fail(error)
        self._failed = max(self._failed, step.voided_at)


def _position(step: Step) -> int:
    return step.position


def _stands_at(position: int) -> WrongPosition:
    return WrongPosition(
        f"an earlier step, on which this one relied, was not applied; the sequence goes on at position {position}",
        expected_position=position,
    )


def _moved(last: int, position: int) -> WrongPosition:
    """Someone else moved the sequence, or the server lost part of it: nobody may go on as if nothing had been."""
    return WrongPosition(
        f"the sequence was left at position {last} and found at {position}; resume it there by open(), or reset it",
        expected_position=position,
    )
