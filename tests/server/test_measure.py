"""Limits of real models on a lane of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.server.calibration import MOST_ROWS
from headrace.server.cost import Cost
from headrace.server.measure import LONG, SHORT, calibrate, padding, sizes
from headrace.server.steps import Rows
from headrace.server.trial import Trial
from headrace.spec import Chunk


def test_rows_are_the_limit_with_states_and_time_steps_without(models: Path) -> None:
    with_states = calibrate(Trial.of(models / "tiny-gru" / "1" / "model.onnx", "CPU"), "CPU", budget=0.0)
    assert [rows for rows, _ in with_states.curve] == list(sizes(MOST_ROWS["CPU"]))
    assert with_states.rows in dict(with_states.curve)
    trial = Trial.of(models / "tiny-encoder" / "1" / "model.onnx", "CPU")
    without = calibrate(trial, "CPU", budget=0.0)
    assert set(dict(without.curve)) == {trial.mixed(rows).sum() for rows in sizes(MOST_ROWS["CPU"])}
    assert without.tokens in dict(without.curve) and without.rows == min(without.tokens, MOST_ROWS["CPU"])
    assert without.cost.call >= 1 and without.cost.cell >= 0


def test_what_padding_costs_is_told_from_long_rows_and_short_ones() -> None:
    def tick(lengths: Rows) -> float:
        """Five microseconds a time step."""
        return 5e-6 * Cost(call=4.0, cell=1 / 500).of(len(lengths), int(lengths.sum()), int(lengths.max()))

    for longest, tokens in ((1000, 10), (1000, 3000), (2 * SHORT, 100)):
        assert padding(tick, Chunk(longest=longest), 512, tokens) / 5e-6 == pytest.approx(1 / 500, rel=0.1)
    assert padding(tick, Chunk(longest=2 * SHORT - 1), 512, LONG) == 0.0
    assert padding(tick, Chunk(longest=64, exactly=64), 512, LONG) == 0.0
    assert padding(tick, Chunk(longest=1000), 2, LONG) == 0.0


def test_sizes_are_doubled_until_the_most() -> None:
    assert list(sizes(1)) == [1]
    assert list(sizes(12)) == [1, 2, 4, 8, 12]
    assert list(sizes(512))[-2:] == [256, 512]
