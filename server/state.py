"""All that one lane may change, in one place. Only who has the lane touches it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, Overloaded, WrongPosition
from headrace.spec import ModelSpec

from .budget import Budget
from .handles import CLOSED, Handles
from .kept import Kept
from .limits import Limits
from .scheduler import Scheduler
from .sequences import FreeList, Sequences
from .similar import Similar, suits
from .starts import Starts
from .steps import NEVER_AGAIN, STATELESS, Answers, Array, Closed, Failed, Rows, Sink, Steps, failures, occurs
from .underway import Underway, cuts


@dataclass(frozen=True, slots=True)
class State:
    sequences: Sequences
    slots: FreeList
    kept: Kept
    scheduler: Scheduler | Similar
    underway: Underway
    starts: Starts
    budget: Budget
    gone: list[int]  # numbers of which an engine may still hold something
    handles: defaultdict[Sink, Handles] = field(default_factory=lambda: defaultdict(Handles))

    @classmethod
    def empty(cls, spec: ModelSpec, limits: Limits) -> State:
        return cls(
            Sequences(limits.sequences),
            FreeList(limits.slots),
            Kept(limits.sequences, spec.outputs, limits.kept_bytes),
            Similar.of(limits)
            if suits(spec)
            else Scheduler(
                limits.rows,
                limits.tokens,
                limits.sequences,
                part=limits.part if cuts(spec) else None,
                apart=bool(spec.caches),
                equal_lengths=spec.chunk.equal_lengths,
            ),
            Underway(spec.outputs, limits.part, min(limits.few, limits.tokens), caches=bool(spec.caches)),
            Starts(spec, limits.rows),
            Budget(spec, limits.sequences, limits.cache_bytes),
            [],
        )

    @property
    def busy(self) -> bool:
        """Whether anything can run."""
        return bool(self.scheduler) or bool(self.underway) or bool(self.starts)

    def remove(self, number: int, word: int) -> tuple[Sink, int] | None:
        """The sequence, of which nothing is pending, leaves; its owner's key stands for `word` from now on.

        Returns the owner and its key, if there is one to be told.
        """
        owner, key = self.sequences.owner[number], int(self.sequences.key[number])
        self.kept.drop(number)
        self.budget.drop(number)
        self.gone.append(number)
        slot = self.sequences.remove(number)
        if slot >= 0:
            self.slots.give(np.array([slot]))
        if owner is None:
            return None
        self.handles[owner][key] = word
        return owner, key

    def require_source(self, source: tuple[Array, ...]) -> None:
        """Raises InvalidInput if no sequence can begin so, Overloaded if there is no room for its cells."""
        self.starts.require(source)
        if source and not self.budget.has_room(len(source[0])):
            raise no_cells()

    def start(self, number: int, source: tuple[Array, ...]) -> None:
        """The new sequence's source waits to be read, if it begins with one."""
        if source:
            self.budget.start(number, len(source[0]))
            self.starts.add(number, source)
            self.sequences.pending[number] += 1

    def begun(self, numbers: Rows, sound: NDArray[np.bool_], error: HeadraceError) -> Answers:
        """Sources were read: steps behind them are ready. Sequences whose source could not be read end with `error`."""
        self.sequences.pending[numbers] -= 1
        self.scheduler.settle(numbers[sound])
        answers = self.close_due(numbers[sound])
        for number in numbers[~sound].tolist():
            answers += self._ended(number, error)
        return answers

    def _ended(self, number: int, error: HeadraceError) -> Answers:
        """All queued steps of the sequence fail, it leaves, and its owner is told."""
        closing = bool(self.sequences.closing[number])
        answers = self.fail_all(number, error)
        if closing:  # it has left, as it wished
            return answers
        left = self.remove(number, CLOSED)
        return answers if left is None else [*answers, (left[0], Failed(left[1], None, error))]

    def close_due(self, numbers: Array) -> Answers:
        """Sequences that were to close and have nothing pending any more do so."""
        closing = self.sequences.closing[numbers]
        if not occurs(closing):
            return []
        due = closing & (self.sequences.pending[numbers] == 0)
        told = [self.remove(number, CLOSED) for number in numbers[due].tolist()]
        return [(owner, Closed((key,))) for owner, key in filter(None, told)]

    def fail(self, steps: Steps, error: HeadraceError) -> Answers:
        """Admitted rows that left the queue, one of a sequence, fail; so do, by position, those parked behind them."""
        answers = failures(steps, error)
        if not len(steps) or steps.numbers[0] == STATELESS:
            return answers
        self._forget(steps)
        for number in steps.numbers.tolist():
            answers += self._fail_behind(number, self.scheduler.withdraw_parked(number))
        return answers + self.close_due(steps.numbers)

    def fail_from(self, number: int, position: int, error: HeadraceError) -> Answers:
        """The queued step that begins at `position` fails, and by position those behind it; earlier ones stay queued.

        A step under way counts as queued, for nothing of it is applied yet. Nothing happens if there is no such step:
        it ran, or was never sent.
        """
        queued = self.scheduler.withdraw_from(number, position)
        if not queued and (begun := self.underway.withdraw(number, position, self.slots)):
            queued = [*begun, *self.scheduler.withdraw_parked(number)]
        if not queued:
            return []
        failed, *behind = queued
        self._forget(failed)
        answers = failures(failed, error) + self._fail_behind(number, behind)
        return answers + self.close_due(failed.numbers)

    def fail_all(self, number: int, error: HeadraceError) -> Answers:
        """All queued steps of a sequence fail with `error`."""
        queued = self.scheduler.withdraw(number)
        for step in queued:
            self._forget(step)
        answers = [answer for step in queued for answer in failures(step, error)]
        return answers + self.close_due(np.array([number]))

    def _fail_behind(self, number: int, behind: list[Steps]) -> Answers:
        for step in behind:
            self._forget(step)
        error = behind_a_failure(int(self.sequences.expected[number]))
        return [answer for step in behind for answer in failures(step, error)]

    def _forget(self, steps: Steps) -> None:
        """Admitted rows of different sequences leave the books as if they had never come."""
        kept = wants_reply_kept(steps)
        self.kept.release(steps.numbers[kept], steps.lengths[kept])
        self.sequences.pending[steps.numbers] -= 1
        self.sequences.expected[steps.numbers] -= steps.lengths
        self.budget.shrink(steps.numbers, self.sequences.expected[steps.numbers])


def wants_reply_kept(steps: Steps) -> NDArray[np.bool_]:
    """[rows] whether the caller may send the step again."""
    mask: NDArray[np.bool_] = steps.acked != NEVER_AGAIN
    return mask


def behind_a_failure(position: int) -> WrongPosition:
    return WrongPosition(
        f"an earlier step of this sequence failed, it stands at position {position}; send the steps again from there",
        expected_position=position,
    )


def no_cells() -> Overloaded:
    return Overloaded(
        "the caches of this lane are full; close sequences, wait until others end, or give the server more with "
        "--cache-bytes",
        retry_after=0.5,
    )
