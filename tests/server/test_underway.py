"""Whole steps and steps in parts, on models that were exported: the same answers, positions and states; and the last
of the same outputs where no more is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.ragged import starts
from headrace.server.commands import Mode, Open, Step
from headrace.server.engine import OnnxEngine
from headrace.server.journal import NoJournal
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.metrics import LaneMeter
from headrace.server.repository import read
from headrace.server.steps import NEVER_AGAIN, STATELESS, Array, Stepped, Steps
from headrace.server.underway import cuts

from .fakes import Clock, Heard, deliver

SEQUENCES = 5
WHOLE = 1 << 20
FRAME = st.lists(st.tuples(st.integers(0, SEQUENCES - 1), st.integers(1, 12)), min_size=1, max_size=8)


class Served:
    """A model on a lane; its sequences' outputs, one after the other, as they were answered."""

    def __init__(self, file: Path, part: int, few: int = 0) -> None:
        limits = Limits(rows=3, tokens=1000, sequences=SEQUENCES, part=part, few=few)
        model, self.spec = read(file)
        self.engine = OnnxEngine(model, self.spec, limits.slots, "CPU")
        meter = LaneMeter((self.spec.name, "1", "0"))
        self.lane = Lane(self.spec, "1", self.engine, NoJournal(), meter, limits, deliver, Clock())
        self.client, self.sent, self.last_only = Heard(), [0] * SEQUENCES, set[tuple[int, int]]()
        for key in range(SEQUENCES):
            self.lane.post(Open(self.client, key, ("", str(key)), Mode.FRESH, 1))
        self.lane.admit(wait=False)
        self.client.take()

    def step(self, frame: Sequence[tuple[int, int]], ticks: int, *, last_only: bool = False) -> None:
        """(key, length) of each row, then so many ticks."""
        positions = []
        for key, length in frame:
            positions.append(self.sent[key])
            self.last_only |= {(key, self.sent[key])} if last_only else set()
            self.sent[key] += length
        lengths = np.array([length for _, length in frame], np.int64)
        values = [given.sample(int(lengths.sum()), np.random.default_rng(sum(self.sent))) for given in self.spec.inputs]
        made = self._steps([key for key, _ in frame], positions, lengths, values)
        self.lane.post(Step(replace(made, last_only=last_only)))
        self.lane.admit(wait=False)
        for _ in range(ticks):
            self.lane.tick()

    def _steps(self, keys: list[int], positions: list[int], lengths: Array, values: list[Array]) -> Steps:
        begin = np.array(positions, np.int64)
        numbers, never = np.full(len(keys), STATELESS), np.full(len(keys), NEVER_AGAIN)
        names, late = np.array(keys, np.uint32), np.full(len(keys), np.inf)
        return Steps(self.client, names, numbers, begin, lengths, never, late, 0.0, tuple(values))

    def finish(self) -> dict[tuple[int, int], list[Array]]:
        """(key, position) → outputs of each step that was answered."""
        while self.lane.state.busy:
            self.lane.tick()
        return {at: cells for answer in self.client.take() for at, cells in self._rows(answer)}

    def _rows(self, answer: object) -> list[tuple[tuple[int, int], list[Array]]]:
        assert isinstance(answer, Stepped), answer
        keys, positions = answer.keys.tolist(), answer.positions.tolist()
        marks = [at in self.last_only for at in zip(keys, positions, strict=True)]
        told = np.where(marks, 1, answer.lengths)
        rows = zip(keys, positions, starts(told), told, strict=True)
        return [
            ((key, position), [self._cells(answer, i, row, begin, length) for i in range(len(answer.outputs))])
            for row, (key, position, begin, length) in enumerate(rows)
        ]

    def _cells(self, answer: Stepped, output: int, row: int, begin: int, length: int) -> Array:
        cells = answer.outputs[output]
        return cells[begin : begin + length] if self.spec.outputs[output].time else cells[row : row + 1]

    def states(self) -> list[Array]:
        """Of each state those of the sequences that have one, in order of their numbers."""
        slots = self.lane.state.sequences.slot
        return [self.engine.arena(state.name)[slots[slots >= 0]] for state in self.spec.states]


@pytest.mark.parametrize("name", ["tiny-gru", "tiny-lstm"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.lists(st.tuples(FRAME, st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
    part=st.integers(1, 5),
    few=st.integers(0, 20),
)
def test_parts_give_what_the_whole_gives(
    models: Path, name: str, frames: list[tuple[list[tuple[int, int]], int, bool]], part: int, few: int
) -> None:
    file = next((models / name).glob("*/model.onnx"))
    whole, cut = Served(file, WHOLE), Served(file, part, few)
    for frame, ticks, last_only in frames:
        whole.step(frame, ticks)
        cut.step(frame, ticks, last_only=last_only)
    expected, found = whole.finish(), cut.finish()
    assert cuts(cut.spec)
    assert found.keys() == expected.keys()
    for at, outputs in expected.items():
        for a, b in zip(found[at], outputs, strict=True):
            np.testing.assert_allclose(a, b[-1:] if at in cut.last_only else b, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(cut.lane.state.sequences.position, whole.lane.state.sequences.position)
    for a, b in zip(cut.states(), whole.states(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
