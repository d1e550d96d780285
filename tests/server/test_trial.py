"""Real models on a lane of their own: every row is applied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import ConfigurationError
from headrace.server.calibration import MOST_ROWS
from headrace.server.trial import Trial


def trial(models: Path, name: str) -> Trial:
    return Trial.of(models / name / "1" / "model.onnx", "CPU")


@pytest.mark.parametrize(("name", "time"), [("tiny-gru", 1), ("tiny-encoder", 32), ("tiny-lm", 1)])
def test_a_tick_applies_every_row_time_after_time(models: Path, name: str, time: int) -> None:
    lane = trial(models, name)
    assert lane.time == time and lane.most == MOST_ROWS["CPU"]
    for rows in (1, 3, MOST_ROWS["CPU"], 3):
        assert lane.tick(lane.alike(rows)) > 0
    assert lane.metrics.total("tokens") == (1 + 3 + MOST_ROWS["CPU"] + 3) * time
    assert 0 < lane.share(lane.alike(8)) <= 1


def test_rows_of_mixed_lengths_are_applied_as_well(models: Path) -> None:
    lane = trial(models, "tiny-encoder")
    lane.tick(lengths := lane.mixed(40))
    assert lane.metrics.total("tokens") == lengths.sum()


def test_a_tick_that_applies_nothing_is_no_measurement(models: Path) -> None:
    lane = trial(models, "tiny-gru")
    lane.positions[1] = 5
    with pytest.raises(ConfigurationError, match="cannot be measured"):
        lane.tick(lane.alike(2))


def test_mixed_lengths_are_spread_evenly_about_the_middle_one_however_many(models: Path) -> None:
    lane = trial(models, "tiny-encoder")
    for rows in (8, 64, 500):
        lengths = lane.mixed(rows)
        assert (lengths.min() >= 16) and (lengths.max() <= 48)
        assert abs(lengths.mean() - 32) < 2 and lengths.std() > 7
        assert not (np.sort(lengths) == lengths).all()
    assert lane.mixed(1).sum() < lane.mixed(2).sum() < lane.mixed(4).sum()


def test_lengths_are_those_that_the_model_takes(models: Path) -> None:
    lane = trial(models, "tiny-encoder")
    chunk = lane.lane.spec.chunk.model_copy(update={"longest": 20})
    lane.lane.spec = lane.lane.spec.model_copy(update={"chunk": chunk})
    assert lane.mixed(100).max() == 20
    exactly = chunk.model_copy(update={"exactly": 20, "rows": 3})
    lane.lane.spec = lane.lane.spec.model_copy(update={"chunk": exactly})
    assert set(replace(lane, time=20).mixed(100).tolist()) == {20} and lane.most == 3
