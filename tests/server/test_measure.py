"""Real models on a lane of their own: every row is applied, and the curve gives limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import ConfigurationError
from headrace.server.calibration import MOST_ROWS
from headrace.server.measure import Trial, calibrate, sizes


@pytest.mark.parametrize(("name", "time"), [("tiny-gru", 1), ("tiny-encoder", 32), ("tiny-lm", 1)])
def test_a_tick_applies_every_row_time_after_time(models: Path, name: str, time: int) -> None:
    trial = Trial.of(models / name / "1" / "model.onnx", "CPU")
    assert trial.time == time
    for rows in (1, 3, MOST_ROWS["CPU"], 3):
        assert trial.tick(rows) > 0
    assert trial.metrics.total("tokens") == (1 + 3 + MOST_ROWS["CPU"] + 3) * time
    assert 0 < trial.share(8) <= 1


def test_a_tick_that_applies_nothing_is_no_measurement(models: Path) -> None:
    trial = Trial.of(models / "tiny-gru" / "1" / "model.onnx", "CPU")
    trial.positions[1] = 5
    with pytest.raises(ConfigurationError, match="cannot be measured"):
        trial.tick(2)


def test_rows_are_the_limit_with_states_and_time_steps_without(models: Path) -> None:
    with_states = calibrate(Trial.of(models / "tiny-gru" / "1" / "model.onnx", "CPU"), "CPU", budget=0.0)
    assert [rows for rows, _ in with_states.curve] == list(sizes(MOST_ROWS["CPU"]))
    assert with_states.rows in dict(with_states.curve)
    without = calibrate(Trial.of(models / "tiny-encoder" / "1" / "model.onnx", "CPU"), "CPU", budget=0.0)
    assert without.tokens in {32 * rows for rows, _ in without.curve}
    assert without.rows == min(without.tokens, MOST_ROWS["CPU"])


def test_sizes_are_doubled_until_the_most() -> None:
    assert list(sizes(1)) == [1]
    assert list(sizes(12)) == [1, 2, 4, 8, 12]
    assert list(sizes(512))[-2:] == [256, 512]
