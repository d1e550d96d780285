"""Sequences of a case, driven through the engine, each beside what it must give alone and whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headrace.server.batch import Batch, Grown, Outcome
from headrace.server.caches.engine import CachedEngine
from headrace.server.steps import Outputs

from .graphs import FEATURES, SOURCE, Case, Values

TOLERANCE = 1e-4

#: Slots of nothing.
NONE = np.zeros(0, np.int64)


@dataclass
class Driven:
    """rows: the most in a batch, so that half as many more sequences have a hot row as in the engine.

    texts: of each number its inputs so far, [time, features]; slot: where its carried state lies.
    """

    case: Case
    rows: int = 2
    numbers: int = 12
    texts: dict[int, Values] = field(default_factory=dict)
    sources: dict[int, Values] = field(default_factory=dict)
    slot: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.engine = CachedEngine(
            self.case.graph(), self.case.spec, 2 * self.numbers, "CPU", rows=self.rows, start=self.case.start()
        )

    def open(self, number: int) -> None:
        self.texts[number], self.slot[number] = np.zeros((0, FEATURES), np.float32), 2 * number
        if self.case.cross:
            source = self.rng.standard_normal((self.rng.integers(1, SOURCE + 1), FEATURES), np.float32)
            assert self.engine.begin(np.array([number]), (source,), np.array([len(source)])).all()
            self.sources[number] = source

    def close(self, number: int) -> None:
        self.engine.forget(np.array([number]))
        del self.texts[number], self.slot[number]

    def fork(self, number: int, others: list[int]) -> None:
        for other in others:
            self.slot[other], self.texts[other] = 2 * other, self.texts[number]
            self.sources |= {other: self.sources[number]} if self.case.cross else {}
        slots = np.array([self.slot[other] for other in others])
        at = self.slot[number] if len(self.texts[number]) else -1
        self.engine.fork(number, at, len(self.texts[number]), np.array(others), slots)

    def batch(self, steps: dict[int, Values], asked: dict[int, int] | None = None) -> Batch:
        """Of these sequences their next time steps, [time, features] each. asked: of so many of them outputs."""
        numbers, past = np.array(list(steps)), np.array([len(self.texts[n]) for n in steps])
        read = np.array([self.slot[n] for n in steps])
        lengths = np.array([len(x) for x in steps.values()])
        values, of = (np.concatenate(list(steps.values())),), None if asked is None else np.array([*asked.values()])
        return Batch(values, lengths, read, read ^ 1, past == 0, Grown(numbers, past), of)

    def draw(self, lengths: dict[int, int]) -> dict[int, Values]:
        return {number: self.rng.standard_normal((n, FEATURES), np.float32) for number, n in lengths.items()}

    def tick(self, lengths: dict[int, int], asked: dict[int, int] | None = None) -> Outcome:
        """So many time steps of each, committed; all is as it must be. asked: of so many outputs, None for all."""
        steps = self.draw(lengths)
        outcome = self.engine.run(self.batch(steps, asked))
        assert outcome.sound.all()
        assert outcome.outputs.lengths.tolist() == list((asked or lengths).values())
        self.check(steps, outcome)
        for number, x in steps.items():
            self.texts[number] = np.concatenate([self.texts[number], x])
            self.slot[number] ^= 1
        return outcome

    def walk(self, numbers: list[int], count: int) -> int:
        """One time step of each, and so many further, all committed and as they must be; returns how many came."""
        self.tick(dict.fromkeys(numbers, 1))
        walk = self.engine.walk(np.array(numbers), NONE)
        came = min(count, walk.room if walk else 0)
        for _ in range(came):
            assert walk is not None
            steps = self.draw(dict.fromkeys(numbers, 1))
            cells = walk.on(np.concatenate(list(steps.values())))
            assert cells is not None
            ones = np.ones(len(steps), np.int64)
            self.check(steps, Outcome(Outputs(cells, (True,) * len(cells), ones), ones > 0))
            self.texts |= {number: np.concatenate([self.texts[number], x]) for number, x in steps.items()}
        if walk is not None:
            walk.end()
            held = self.engine._residents.places.held[numbers]
            assert held.tolist() == [len(self.texts[number]) for number in numbers]
        return came

    def check(self, steps: dict[int, Values], outcome: Outcome) -> None:
        ends = np.cumsum(outcome.outputs.lengths)
        assert len(outcome.outputs.cells[0]) == ends[-1]
        for row, (number, y) in enumerate(zip(steps, np.split(outcome.outputs.cells[0], ends[:-1]), strict=True)):
            text = np.concatenate([self.texts[number], steps[number]])
            want = self.case.truth(text, self.sources.get(number))[len(text) - len(y) :]
            np.testing.assert_allclose(y, want, atol=TOLERANCE, rtol=TOLERANCE)
            if self.case.carried:
                assert outcome.outputs.cells[1][row] == len(text)

    def spoil(self, lengths: dict[int, int]) -> Outcome:
        """Time steps that are not finite, and never committed."""
        nothing = {number: np.full((n, FEATURES), np.nan, np.float32) for number, n in lengths.items()}
        return self.engine.run(self.batch(nothing))
