"""States by sequence id, against the same steps at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from headrace.bench.peers.kept import END, START, Kept

TIME = 4


@pytest.fixture
def model(models: Path) -> str:
    return str(models / "tiny-lstm" / "1" / "model.onnx")


def whole(model: str, values: np.ndarray) -> np.ndarray:
    """[time, outputs] of one sequence [time, features], in one call from zero states."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    states = {i.name: np.zeros((1, *i.shape[1:]), np.float32) for i in session.get_inputs() if i.name in ("h", "c")}
    feed = {"values": values, "lengths": np.array([len(values)])} | states
    return np.asarray(session.run(["log_probabilities"], feed)[0])


def test_interleaved_sequences_are_answered_as_each_alone(model: str) -> None:
    kept, values = Kept(model), np.random.default_rng(0).standard_normal((TIME, 2, 3), np.float32)
    answers = [kept.step([5, 6], [START if time == 0 else 0] * 2, values[time]) for time in range(TIME)]
    for row in range(2):
        np.testing.assert_allclose(np.stack(answers)[:, row], whole(model, values[:, row]), atol=1e-6)


def test_a_start_begins_anew_and_an_end_forgets(model: str) -> None:
    kept, value = Kept(model), np.ones((1, 3), np.float32)
    first = kept.step([5], [START], value)
    assert not np.array_equal(kept.step([5], [0], value), first)
    np.testing.assert_array_equal(kept.step([5], [START | END], value), first)
    with pytest.raises(KeyError):
        kept.step([5], [0], value)
    np.testing.assert_array_equal(kept.step([9], [START], value), first)  # where another one was
