"""A small module through both exports; figures of rounds that were made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from headrace.bench.encoder import Size, padded_graph
from headrace.bench.encoders import Runtime
from headrace.bench.user_encoder import BATCHES, LONGEST, Cost, Sides, exported, figure, round_of

SMALL = Size(layers=1, width=16, heads=2, features=4, classes=3)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ours, padded."""
    folder = tmp_path_factory.mktemp("user-encoder")
    return exported(folder, SMALL), padded_graph(folder, SMALL)


def test_both_graphs_are_of_one_module(graphs: tuple[Path, Path]) -> None:
    ours, padded = (ort.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in graphs)
    lengths = np.array([7, 1, 30, 12])
    mask = np.arange(30) < lengths[:, None]
    values = np.random.default_rng(0).standard_normal((4, 30, SMALL.features), np.float32)
    (packed,) = ours.run(None, {"values": values[mask], "lengths": lengths})
    (want,) = padded.run(None, {"values": values, "mask": mask})
    np.testing.assert_allclose(packed, want, atol=1e-5)


def test_no_layer_of_ours_runs_padded(graphs: tuple[Path, Path]) -> None:
    assert "padded rows" not in graphs[0].with_name("report.md").read_text()


def test_a_round_runs_both_sides(graphs: tuple[Path, Path]) -> None:
    ours, padded = map(Runtime, graphs)
    assert min(round_of(Sides(ours, padded), 4, 16, SMALL)) > 0


def test_a_figure_is_the_ratio_of_each_round() -> None:
    rounds = [Cost(0.01, 0.02), Cost(0.02, 0.03), Cost(0.01, 0.05)]
    (first, *others) = (figure(rows, rounds) for rows in BATCHES)
    assert first.value == pytest.approx(2.0) and first.bound == 1.6 and first.reached
    assert all(f.bound is None for f in others) and f"1 to {LONGEST}" in first.note
    assert not figure(BATCHES[0], rounds[1:2]).reached
