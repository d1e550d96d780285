"""What was asked under one key of the stream and what has been answered. No transport; time is passed in.

Ledger
├── Ordered    a sequence: steps have positions, go in order and are applied exactly once
└── Unordered  a stateless model: rows know nothing of each other
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from headrace.errors import HeadraceError, UnknownSequence
from headrace.protos import sequences_pb2 as pb

from .codes import RETRIED, again
from .served import ServedModel
from .settings import Settings
from .step import Step
from .tensors import Result


class Phase(Enum):
    NEW = auto()
    """Its Open is to be written (again)."""
    ASKED = auto()
    """Its Open is written, not answered."""
    LIVE = auto()
    CLOSING = auto()
    """Its close is written, not answered."""
    DEAD = auto()


@dataclass(frozen=True, slots=True)
class Opening:
    """What an Open says, but for the key."""

    model: str
    version: str
    id: str
    mode: pb.OpenMode
    incarnation: int
    tenant: str
    source: tuple[bytes, ...] = ()
    """Of a model with a start graph: its inputs, [time, *shape] each."""

    def message(self, key: int, rejoin: bool) -> pb.Open:
        return pb.Open(
            key=key,
            model=self.model,
            version=self.version,
            id=self.id,
            mode=pb.REJOIN if rejoin else self.mode,
            incarnation=self.incarnation,
            tenant=self.tenant,
            source=() if rejoin else self.source,
        )


class Ledger(ABC):
    """Mutable; `Session` alone calls what changes it. `sent`: written and unanswered; `waiting`: to be written."""

    def __init__(
        self, key: int, opening: Opening, settings: Settings, opened: asyncio.Future[pb.Opened], by: float
    ) -> None:
        self.key = key
        self.opening = opening
        self.opened = opened
        self.closed: asyncio.Future[HeadraceError | None] | None = None  # set when a close is asked for
        self._close_by = inf
        self.phase = Phase.NEW
        self.served: ServedModel | None = None  # known before the first step
        self.error: HeadraceError = UnknownSequence(
            "the sequence is closed; open it again, or reset it"
        )  # why it is dead
        self.waiting: deque[Step] = deque()
        self.not_before = -inf
        self._settings = settings
        self._opened_by = by

    @property
    def dead(self) -> bool:
        return self.phase is Phase.DEAD

    @property
    @abstractmethod
    def position(self) -> int:
        """Time steps known to be applied, their replies received; 0 for a stateless model."""

    @property
    @abstractmethod
    def sent(self) -> Iterator[Step]: ...

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Whether nothing is under way."""

    def awaits(self, step: Step) -> bool:
        """Whether the server was sent the step, and has not answered it; on this stream."""
        return self.phase is Phase.LIVE and any(s is step for s in self.sent)

    @abstractmethod
    def sendable(self, now: float) -> bool:
        """Whether the first waiting step, if there is one, may be written."""

    @abstractmethod
    def submit(self, step: Step) -> None: ...

    @abstractmethod
    def take(self) -> Step:
        """The first waiting step, to be written now."""

    @abstractmethod
    def answered(self, position: int, result: Result) -> None: ...

    @abstractmethod
    def refused(self, position: int, error: HeadraceError, now: float) -> None: ...

    @abstractmethod
    def give_up(self, step: Step) -> bool:
        """Its caller no longer waits, and was told. Returns whether the server should hear of it by a Cancel."""

    @abstractmethod
    def opened_at(self, position: int) -> None:
        """The server's answer to an Open: all that was sent before it is answered, or has to be sent again."""

    @abstractmethod
    def pending(self) -> Iterator[Step]:
        """All that is under way."""

    def accept(self, told: pb.Opened) -> None:
        self.phase = Phase.LIVE
        self.opened_at(told.position)
        if not self.opened.done():
            self.opened.set_result(told)

    def message(self) -> pb.Open:
        """A sequence that was open once is rejoined: begun anew its state would be lost unseen, and resumed it would be
        taken from whoever has it by now."""
        return self.opening.message(self.key, rejoin=self.opened.done() and bool(self.opening.id))

    def not_opened(self, error: HeadraceError, now: float) -> None:
        """The server's refusal of an Open."""
        again_at = now + self.pause(error)
        if isinstance(error, UnknownSequence) and self.opened.done():
            self.fail(
                UnknownSequence(f"the sequence did not outlive the lost connection ({error}); reset it to begin anew")
            )
        elif isinstance(error, RETRIED) and (self.opened.done() or again_at < self._opened_by):
            self.phase, self.not_before = Phase.NEW, again_at
        else:
            self.fail(error)

    def close(self, closed: asyncio.Future[HeadraceError | None], by: float) -> None:
        """`closed` gets None when the server has let go of it, or why not at `by` or the last step's time."""
        self.closed = closed
        late = (step.deadline + self._settings.grace for step in self.pending() if not step.given_up)
        self._close_by = max([by, *(at for at in late if at < inf)])  # a step without timeout has until then as well
        if self.dead:
            closed.set_result(None)

    def pause(self, error: HeadraceError) -> float:
        """Seconds to wait after `error` before the next attempt."""
        return self._settings.retry_after if error.retry_after is None else error.retry_after

    def fail(self, error: HeadraceError) -> None:
        """Nothing more will come of it: all callers are told."""
        self.phase, self.error = Phase.DEAD, error
        for step in self.pending():
            step.fail(again(error))
        self.forget()
        if not self.opened.done():
            self.opened.set_exception(again(error))
        if self.closed is not None and not self.closed.done():
            self.closed.set_result(None)

    @abstractmethod
    def forget(self) -> None:
        """Drops all that is under way."""

    def due(self, now: float) -> float:
        """When time itself next changes something here."""
        times = [step.deadline for step in self.waiting if not step.given_up]
        times += [step.deadline + self._settings.grace for step in self.sent if not step.given_up]
        if not self.opened.done():
            times.append(self._opened_by)
        if self.closed is not None and not self.closed.done():
            times.append(self._close_by)
        if self.not_before > now:  # though nothing may wait now: steps that are called until then will
            times.append(self.not_before)
        return min(times, default=inf)

    def expire(self, now: float, error: HeadraceError) -> None:
        """Fails with `error` if it should have been opened, or closed, by now."""
        if self._opened_by <= now and not self.opened.done():
            self.fail(error)
        if self._close_by <= now and self.closed is not None and not self.closed.done():
            self.closed.set_result(again(error))
            self.fail(error)

    def overdue(self, now: float) -> list[Step]:
        """Steps whose callers should be told that it is too late."""
        late = [s for s in self.sent if s.deadline + self._settings.grace <= now and not s.given_up]
        return late + [s for s in self.waiting if s.deadline <= now and not s.given_up]
