"""Steps, cancels and lost callers → the queue, or answers at once. What can be refused is refused here, row by row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Cancelled, ModelFailed, Overloaded, WrongPosition
from headrace.spec import ModelSpec

from .checks import endings, problems
from .commands import Admitted, Cancel, Close, Leave, NamedSteps, Open, Step
from .handles import CLOSED, EXPIRED, Handles, why
from .kept import MOST_BYTES, MOST_STEPS
from .opening import close, find_named, open_sequence
from .single import keyed, named
from .state import State, no_cells, wants_reply_kept
from .steps import NEXT, Answers, Closed, Failed, Opened, Stepped, Steps, failures, holds, occurs
from .straight import straight_on, together

log = logging.getLogger(__name__)

Mask = NDArray[np.bool_]

#: Of 100,000 sequences that end their time to live together, no more leave between two batches: less than 1 ms.
MOST_EXPIRED = 100


@dataclass(frozen=True, slots=True)
class Admission:
    """Pure but for `state`: time is passed in, answers come back."""

    spec: ModelSpec
    version: str
    state: State
    idle: float  # seconds until an unused sequence expires

    def handle(self, command: Admitted, now: float) -> Answers:
        match command:
            case NamedSteps() if len(command.names) == 1 and named(self.spec, self.state, command, now):
                return []
            case Step() | NamedSteps():
                return self._steps(command, now)
            case _ if self.spec.stateful:
                return self._stateful(command, now)
            case _:
                return self._stateless(command)

    def together(self, frames: Sequence[Steps], now: float) -> bool:
        """Admits all of these frames, if nothing in them asks for more than the usual; else does nothing."""
        if len(frames) == 1 and len(frames[0]) == 1:
            return keyed(self.spec, self.state, frames[0], now)
        return together(self.spec, self.state, frames, now)

    def _stateless(self, command: Open | Cancel | Close | Leave) -> Answers:
        """Rows stand for themselves: keys need no table, and nothing is kept."""
        match command:
            case Open():
                return [(command.sink, Opened(command.key, self.version, 0, resumed=False))]
            case Cancel():
                return []  # the rows are answered as if nothing had been said
            case Close():
                return [(command.sink, Closed(command.keys))]
            case Leave():
                gone = self.state.scheduler.withdraw_of(command.sink, command.keys)
                error = Cancelled("the caller is gone")
                return [answer for piece in gone for answer in failures(piece, error)]
            case _:
                assert_never(command)

    def _stateful(self, command: Open | Cancel | Close | Leave, now: float) -> Answers:
        match command:
            case Open():
                return open_sequence(self.state, command, self.version, now)
            case Cancel():
                return self._cancel(command)
            case Close():
                return close(self.state, command)
            case Leave():
                return self._leave(command)
            case _:
                assert_never(command)

    def expire(self, now: float) -> Answers:
        """Sequences unused for the time to live leave, MOST_EXPIRED of them at once; their owners are told."""
        answers: Answers = []
        for number in self.state.sequences.idle_since(now - self.idle, MOST_EXPIRED):
            if left := self.state.remove(number, EXPIRED):
                owner, key = left
                answers.append((owner, Failed(key, None, why(EXPIRED, key))))
        return answers

    # Steps

    def _steps(self, command: Step | NamedSteps, now: float) -> Answers:
        """A fault of ours in the checks is contained, for nothing has changed yet: later, rows would be half admitted.

        Stateless rows have no sequence, so names mean nothing to them.
        """
        try:
            command, answers = self._sound(command)
        except Exception as error:
            log.exception("steps could not be checked")
            return failures(command.steps, ModelFailed(f"the server failed on this step: {error!r}"))
        if not self.spec.stateful:
            self.state.scheduler.add(command.steps)
        elif isinstance(command, Step):
            answers += self._keyed(command.steps, now)
        else:
            for turn in command.in_turns():
                answers += self._named(turn, now)
        return answers

    def _sound(self, command: Step | NamedSteps) -> tuple[Step | NamedSteps, Answers]:
        """The rows that the spec allows, and what the others are told."""
        found = list(problems(self.spec, command.steps))
        if not found:
            return command, []
        answers: Answers = []
        sound = np.ones(len(command.steps), np.bool_)
        for broken, error in found:
            answers += failures(command.steps.take(broken & sound), error)
            sound &= ~broken
        return command.take(sound), answers

    def _keyed(self, steps: Steps, now: float) -> Answers:
        steps = steps.numbered(self.state.handles[steps.sink].lookup(steps.keys))
        known = steps.numbers >= 0
        if holds(known):
            return self._numbered(steps, now)
        told: Answers = [(steps.sink, _not_known(steps, row)) for row in np.flatnonzero(~known).tolist()]
        return told + self._numbered(steps.take(known), now)

    def _named(self, command: NamedSteps, now: float) -> Answers:
        """Rows of different names. A sequence closes behind a row that ends it, if the row did not fail."""
        numbers, told = find_named(self.state, command, now)
        steps, found = command.steps.numbered(numbers), numbers >= 0
        answers = told + self._admit(self._placed(steps.take(found)), now)
        if occurs(ends := command.ends & found):
            failed = [
                a.key for sink, a in answers if sink is steps.sink and isinstance(a, Failed) and a.key is not None
            ]
            closing = numbers[ends & ~np.isin(steps.keys, failed)]
            self.state.sequences.closing[closing] = True
            answers += self.state.close_due(closing)
        return answers

    def _numbered(self, steps: Steps, now: float) -> Answers:
        """Rows whose sequences are live. Rows of one sequence in one frame are admitted one after the other."""
        if self.state.sequences.distinct(steps.numbers):
            return self._admit(steps, now)
        answers: Answers = []
        while len(steps):
            first = self.state.sequences.first_of_each(steps.numbers)
            answers += self._admit(steps.take(first), now)
            steps = steps.take(~first)
        return answers

    def _admit(self, steps: Steps, now: float) -> Answers:
        """Rows of different live sequences."""
        self.state.sequences.used[steps.numbers] = now
        if straight_on(self.spec, self.state, steps.numbers, steps.positions, steps.lengths, steps.acked):
            self._enqueue(steps)
            return []
        kept = wants_reply_kept(steps)
        self.state.kept.acknowledge(steps.numbers[kept], steps.acked[kept])
        steps, answers = self._in_place(steps)
        steps, over = self._going_on(steps)
        steps, full = self._with_room(steps)
        steps, lacking = self._with_cells(steps)
        self._enqueue(steps)
        return [*answers, *over, *full, *lacking]

    def _enqueue(self, steps: Steps) -> None:
        """Rows that are admitted: behind what is pending of their sequences."""
        sequences, numbers = self.state.sequences, steps.numbers
        pending = sequences.pending[numbers]
        sequences.expected[numbers] = steps.positions + steps.lengths
        sequences.pending[numbers] = pending + 1
        if np.count_nonzero(pending):
            self.state.scheduler.park(steps.take(pending > 0))
            steps = steps.take(pending == 0)
        self.state.scheduler.add(steps)

    def _placed(self, steps: Steps) -> Steps:
        """Rows that go wherever their sequences stand now say where that is."""
        anywhere = steps.positions == NEXT
        if not occurs(anywhere):
            return steps
        return steps.placed(np.where(anywhere, self.state.sequences.expected[steps.numbers], steps.positions))

    def _in_place(self, steps: Steps) -> tuple[Steps, Answers]:
        """The rows that begin where their sequences stand; the others are repetitions, or wrong."""
        steps = self._placed(steps)
        expected = self.state.sequences.expected[steps.numbers]
        fits = (steps.positions == expected) & ~self.state.sequences.closing[steps.numbers]
        if holds(fits):
            return steps, []
        answers: Answers = []
        for row in np.flatnonzero(~fits).tolist():
            answers += self._repeated(steps.take(np.array([row])), int(expected[row]))
        return steps.take(fits), answers

    def _repeated(self, step: Steps, expected: int) -> Answers:
        """One row off its place: answered again from memory if it was answered, else refused."""
        number, position, length = int(step.numbers[0]), int(step.positions[0]), int(step.lengths[0])
        if self.state.sequences.closing[number]:
            return failures(step, why(CLOSED, int(step.keys[0])))
        outputs = self.state.kept.find(number, position, length)
        if outputs is None:
            return failures(step, _off_place(position, length, expected))
        return [(step.sink, Stepped(step.keys, step.positions, step.lengths, outputs))]

    def _going_on(self, steps: Steps) -> tuple[Steps, Answers]:
        """The rows of sequences that have not ended."""
        answers: Answers = []
        for over, error in endings(self.spec, steps):
            answers += failures(steps.take(over), error)
            steps = steps.take(~over)
        return steps, answers

    def _with_room(self, steps: Steps) -> tuple[Steps, Answers]:
        """The rows whose replies can be kept until they are acknowledged, with room reserved for them."""
        kept = wants_reply_kept(steps)
        fits = ~kept
        fits[kept] = self.state.kept.reserve(steps.numbers[kept], steps.lengths[kept])
        if holds(fits):
            return steps, []
        error = Overloaded(
            f"{MOST_STEPS} replies or {MOST_BYTES >> 10} KiB of them (or all that may be kept) are not acknowledged; "
            "read them, say in `acked` up to where they arrived, and send the step again",
            retry_after=0.05,
        )
        return steps.take(fits), failures(steps.take(~fits), error)

    def _with_cells(self, steps: Steps) -> tuple[Steps, Answers]:
        """The rows for whose keys and values there is room, which they have from now on."""
        if not self.spec.caches:
            return steps, []
        fits = self.state.budget.grow(steps.numbers, steps.positions + steps.lengths)
        if holds(fits):
            return steps, []
        lacking = steps.take(~fits)
        kept = wants_reply_kept(lacking)
        self.state.kept.release(lacking.numbers[kept], lacking.lengths[kept])
        return steps.take(fits), failures(lacking, no_cells())

    # Callers that change their mind, or are gone

    def _cancel(self, command: Cancel) -> Answers:
        """Steps that wait, or have parts to run; one that ran is answered as if nothing had been said."""
        answers: Answers = []
        error = Cancelled("the step was cancelled before it ran; nothing was applied")
        numbers = self.state.handles[command.sink].lookup(command.keys)
        known = numbers >= 0
        numbers, positions = numbers[known], command.positions[known]
        waits = self.state.sequences.has_pending_at(numbers, positions)
        named = zip(numbers[waits].tolist(), positions[waits].tolist(), strict=True)
        for number, position in dict.fromkeys(named):  # once each, in order: a frame can name one step very often
            answers += self.state.fail_from(number, position, error)
        return answers

    def _leave(self, command: Leave) -> Answers:
        """Its queued rows fail, and those of others that were queued behind them; its sequences have no owner now."""
        state, error = self.state, Cancelled("the caller is gone")
        answers: Answers = []
        for piece in state.scheduler.withdraw_of(command.sink, command.keys):
            answers += state.fail(piece, error)
        for number, position in state.scheduler.parked_of(command.sink, command.keys):
            answers += state.fail_from(number, position, error)
        for number in state.handles.pop(command.sink, Handles()):
            state.sequences.owner[number] = None
        return answers


def _not_known(steps: Steps, row: int) -> Failed:
    key = int(steps.keys[row])
    return Failed(key, int(steps.positions[row]), why(int(steps.numbers[row]), key))


def _off_place(position: int, length: int, expected: int) -> WrongPosition:
    where = "behind" if position < expected else "ahead of"
    return WrongPosition(
        f"the step [{position}, {position + length}) is {where} its sequence, which expects position {expected}; "
        "send the step that begins there",
        expected_position=expected,
    )
