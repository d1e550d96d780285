"""A small encoder through the whole measurement; figures of rounds that were made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from headrace.bench import one_long, two_lanes
from headrace.bench.encoder import Size, packed_graph, padded_graph
from headrace.bench.encoders import BATCHES, COMMON, Round, Runtime, Served, Sides, Sizes, figures
from headrace.bench.stateless import Hand, Limits

SMALL = Size(layers=1, width=16, heads=2, features=4, classes=3)
LIMITS = Limits(rows=64, tokens=256, sequences=1, most_rows=64)


@dataclass
class Seen:
    """A runtime of which every run takes a second."""

    masks: list[np.ndarray] = field(default_factory=list)

    def seconds(self, feed: dict[str, np.ndarray]) -> float:
        self.masks.append(feed["mask"])
        return 1.0


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Packed, padded."""
    folder = tmp_path_factory.mktemp("encoders")
    return packed_graph(folder, SMALL), padded_graph(folder, SMALL)


def test_the_padded_graph_gives_what_the_packed_one_does(graphs: tuple[Path, Path]) -> None:
    packed, padded = (ort.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in graphs)
    lengths = np.array([7, 1, 30, 12])
    mask = np.arange(30) < lengths[:, None]
    values = np.random.default_rng(0).standard_normal((4, 30, SMALL.features), np.float32)
    (ours,) = packed.run(None, {"values": values[mask], "lengths": lengths})
    (theirs,) = padded.run(None, {"values": values, "mask": mask})
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    (wrong,) = padded.run(None, {"values": values, "mask": np.ones_like(mask)})
    assert np.abs(ours - wrong).max() > 1e-3


def test_a_round_serves_every_sequence_on_each_side(graphs: tuple[Path, Path]) -> None:
    packed, padded = graphs
    found = Sides(Hand.of(packed, LIMITS), Runtime(packed), Runtime(padded), LIMITS).round(20)
    assert len(found.sizes) == len(BATCHES)
    assert all(seconds > 0 for size in found.sizes for seconds in size)
    assert found.served.ours > found.served.bare > 0


def test_a_padded_batch_is_as_long_as_its_longest_row(graphs: tuple[Path, Path]) -> None:
    packed, _ = graphs
    seen = Seen()
    sides = Sides(Hand.of(packed, LIMITS), Runtime(packed), seen, LIMITS)
    assert sides.apart(np.array([3, 9, 2, 5]), 2) == 2 / 4  # two runs for four sequences
    assert [mask.shape for mask in seen.masks] == [(2, 9), (2, 5)]
    assert [mask.sum(axis=1).tolist() for mask in seen.masks] == [[3, 9], [2, 5]]


def test_figures_say_what_the_rounds_do() -> None:
    sizes = tuple(Sizes(ours=0.01, arrival=0.01 + 0.001 * rows, sorted=0.012) for rows in BATCHES)
    rounds = [Round(sizes, Served(ours=0.01, bare=0.0095))] * 3
    common, alone, bare = figures(rounds, tokens=264)
    assert common.value == pytest.approx((0.01 + 0.001 * COMMON) / 0.01) and common.reached
    assert "1.20 x" in common.note and "100, 100" in common.note
    assert alone.value == pytest.approx(1.1) and alone.bound is None
    assert bare.value == pytest.approx(0.95) and bare.reached and "264" in bare.note


def test_short_ones_wait_for_a_long_one_once(graphs: tuple[Path, Path]) -> None:
    hand = Hand.of(graphs[0], LIMITS)
    rate = 0.5 * one_long.pace(hand)
    short = one_long.short_ones(rate=rate, seconds=30 / rate)  # as many on any machine
    assert one_long.short_ones(rate=10, seconds=3) == one_long.short_ones(rate=10, seconds=3)
    alone, _ = one_long.served(hand, short)
    assert len(alone) == len(short) and (alone > 0).all()
    both, longest = one_long.served(hand, [*short, one_long.Request(short[3].arrives, one_long.LONG)])
    assert len(both) == len(short) + 1 and both[-1] >= longest > 0


def test_the_rise_is_told_in_batches() -> None:
    figure = one_long.figure([one_long.Waits(0.010, 0.040, 0.045)] * 3, rate=700)
    assert figure.value == pytest.approx(2 / 3) and figure.reached
    assert not one_long.figure([one_long.Waits(0.010, 0.060, 0.045)], rate=700).reached


def test_two_lanes_serve_all_that_one_does(graphs: tuple[Path, Path]) -> None:
    hands = [Hand.of(graphs[0], LIMITS) for _ in range(2)]
    assert two_lanes.rate(hands, 6) > 0
    assert all(hand.told and not hand.busy for hand in hands)
    assert two_lanes.figure([(120.0, 80.0)]).value == pytest.approx(1.5)
