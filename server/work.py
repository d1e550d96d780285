"""What a lane's tick does: run, journal, commit. A failure fails the rows that it belongs to, never the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, ModelFailed
from headrace.spec import ModelSpec, Output

from .batch import Batch, Outcome, assemble, blank, join
from .commands import Fork
from .commit import commit, roll_back
from .forking import fork
from .journal import Journal, record
from .onward import Onward, Walk
from .refusals import not_logged
from .state import State
from .steps import Answers, Array, Failed, Rows, Steps, holds

log = logging.getLogger(__name__)

#: The slots that a tick has written which did not come so far.
NOTHING = np.zeros(0, np.int64)

#: Of a batch that ran: itself, what came of it, and the seconds that it took.
Ran = Callable[[Batch, Outcome, float], None]


class Engine(Protocol):
    """The model at work, with the states of the lane's sequences: those that are carried in slots, caches by number."""

    def run(self, batch: Batch) -> Outcome:
        """Raises ModelFailed if the runtime refuses the batch; slots that are read never change, nor cells that the
        sequences have behind them."""

    def walk(self, write: Rows, spare: Rows) -> Walk | None:
        """Further with the rows of the last batch that ran, of one token each; None where that is not to be had.

        write: the slots where that batch wrote; spare: as many free ones, if states are carried.
        """

    def begin(self, numbers: Rows, source: tuple[Array, ...], lengths: Rows) -> NDArray[np.bool_]:
        """Runs the start graph on packed sources: [rows] whether what it gave is finite. Raises ModelFailed."""

    def fork(self, number: int, slot: int, length: int, numbers: Rows, slots: Rows) -> None:
        """The state of a sequence of so many time steps becomes others' too. slot: FRESH if it has none; slots: none
        then. Raises ModelFailed."""

    def forget(self, numbers: Rows) -> None:
        """These sequences are gone."""


class Work:
    """What is done on the engine, and what that means for the state.

    Mutable: the state, and `rows`, which have left the queue and are not answered.

    ran: is told of each batch that ran and is committed.
    """

    def __init__(
        self,
        spec: ModelSpec,
        version: str,
        state: State,
        engine: Engine,
        journal: Journal,
        clock: Callable[[], float],
        ran: Ran,
    ) -> None:
        self._spec, self._version, self._state, self._engine = spec, version, state, engine
        self._journal, self._clock, self._ran = journal, clock, ran
        self.rows: list[Steps] = []

    def run(self, began: float, onward: Onward | None = None) -> Answers:
        """Run, journal, commit of `rows` and of those under way. onward: where the rows are one piece, of texts."""
        self.forget()
        write = NOTHING
        try:
            batch = self._assemble()
            write = batch.write
            outcome = run_split(self._engine, batch, self._spec.outputs)
            if onward is not None and holds(outcome.sound):
                write, outcome = self._go_on(batch, outcome, onward)
            took = self._clock() - began
            write, outcome = self._settle(batch, write, outcome)
            self._log(outcome)
        except OSError as error:
            log.error("the journal cannot be written, so the tick is not applied: %s", error)
            return roll_back(self._state, self.rows, write, not_logged(error))
        except Exception as error:
            log.exception("the tick failed and is not applied")
            self.rows = [*self.rows, *self._state.underway.drop(self._state.slots)]
            return roll_back(self._state, self.rows, write, ModelFailed(f"the step was not applied: {error}"))
        answers = commit(self._state, self.rows, write, outcome, self._clock())
        self._ran(batch, outcome, took)
        return answers

    def _assemble(self) -> Batch:
        if self._state.underway:
            return self._state.underway.assemble(self.rows, self._state.sequences, self._state.slots)
        return assemble(self.rows, self._state.sequences, self._state.slots, caches=bool(self._spec.caches))

    def _go_on(self, batch: Batch, outcome: Outcome, onward: Onward) -> tuple[Rows, Outcome]:
        """The rows go onward as far as they can: those of `rows` have more time steps then. Returns where their states
        lie, and the outcome."""
        slots = self._state.slots
        left = spare = slots.take(len(batch) if self._spec.states else 0)
        try:
            if (walk := self._engine.walk(batch.write, spare)) is None:
                return batch.write, outcome
            grown, outcome = onward.go(self.rows[0], outcome, walk)
            self.rows, left = [grown], spare if walk.slots is batch.write else batch.write
            return walk.slots, outcome
        finally:
            slots.give(left)

    def _settle(self, batch: Batch, write: Rows, outcome: Outcome) -> tuple[Rows, Outcome]:
        """The written slots and the outcome of the rows that this tick ends: of all, unless long ones are under way."""
        if not self._state.underway:
            return write, outcome
        self.rows, write, ended = self._state.underway.advance(self.rows, batch, outcome, self._state.slots)
        return write, ended

    def _log(self, outcome: Outcome) -> None:
        """Stateless rows leave nothing behind that could be lost."""
        if self._journal.keeps and self._spec.stateful and self.rows:
            entry = record((self._spec.name, self._version), self._state.sequences, self.rows, outcome.sound)
            if len(entry):
                self._journal.append(entry)

    def begin(self) -> Answers:
        """The next sources go through the start graph; the steps behind them become ready."""
        self.forget()
        begun = self._state.starts.take()
        if begun is None:
            return []
        try:
            sound = begin_split(self._engine, begun.numbers, begun.source, begun.lengths)
        except Exception as error:
            log.exception("sources could not be read")
            return self._state.begun(begun.numbers, begun.numbers < 0, ModelFailed(f"the source was not read: {error}"))
        return self._state.begun(begun.numbers, sound, ModelFailed("the model failed on the source"))

    def fork(self, command: Fork, now: float) -> Answers:
        """Answers of the new sequences."""
        self.forget()
        try:
            return fork(self._state, self._engine.fork, command, self._version, now)
        except HeadraceError as error:
            refusal = error
        except Exception as error:  # such as that there is no memory: nothing has changed
            log.exception("a fork failed")
            refusal = ModelFailed(f"the sequence was not forked: {error}")
        return [(command.sink, Failed(key, None, refusal)) for key in command.keys]

    def forget(self) -> None:
        """What the engine holds of sequences that are gone is given back: before their numbers are another's."""
        if self._state.gone:
            self._engine.forget(np.array(self._state.gone, np.int64))
            self._state.gone.clear()


def run_split(engine: Engine, batch: Batch, outputs: Sequence[Output]) -> Outcome:
    """Runs the batch; if the runtime refuses it, its halves, until the guilty rows are alone and the others have run.

    Running a row twice does no harm: what it reads is not changed by the first run, and nothing is committed yet.
    """
    try:
        return engine.run(batch)
    except ModelFailed as error:
        if len(batch) == 1:
            log.warning("%s", error)
            return Outcome(blank(outputs, batch.given), np.zeros(1, np.bool_))
    first, second = (run_split(engine, half, outputs) for half in batch.halves())
    return join(first, second)


def begin_split(engine: Engine, numbers: Rows, source: tuple[Array, ...], lengths: Rows) -> NDArray[np.bool_]:
    """The same for sources: [rows] which were read."""
    try:
        return engine.begin(numbers, source, lengths)
    except ModelFailed as error:
        if len(numbers) == 1:
            log.warning("%s", error)
            return np.zeros(1, np.bool_)
    middle = len(numbers) // 2
    tokens = int(lengths[:middle].sum())
    parts = (slice(None, middle), slice(None, tokens)), (slice(middle, None), slice(tokens, None))
    found = [begin_split(engine, numbers[r], tuple(v[t] for v in source), lengths[r]) for r, t in parts]
    return np.concatenate(found)
