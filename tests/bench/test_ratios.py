"""From rounds to figures: medians of the rounds' ratios, and the right way round."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.bench import caches, crowd, lanes, lone, messages, poisson, rolling, speed, start
from headrace.bench.bare import Runs
from headrace.bench.crowd import Memory
from headrace.bench.load import Cost, Load
from headrace.bench.rolling import Pace
from headrace.bench.usage import Usage


def cost(cpu: float, compute: float = 0.0, rate: float = 1000.0) -> Cost:
    """Of 1,000 steps; seconds in all."""
    return Cost(Load(1000, 1000 / rate, np.full(10, 0.002)), Usage(cpu, compute))


def test_shares_are_of_the_bare_rate_and_costs_of_the_echos() -> None:
    bare = Runs(64, 0.5, np.full(10, 0.0064))  # 10,000 rows a second
    rounds = [speed.Round(bare, cost(3.0, 2.0, rate), cost(0.5), cost(0.8)) for rate in (2000.0, 9000.0, 8000.0)]
    share, by_cpu, outside, paced = speed.figures(64, rounds)
    assert (share.value, share.reached) == (pytest.approx(0.8), True)
    assert by_cpu.value == pytest.approx(0.5 / 640 / 0.003)
    assert (outside.value, outside.reached) == (pytest.approx(2.0), False)
    assert "64000 µs a frame, the echo 32000" in outside.note
    assert "believed" not in share.note
    assert (paced.value, paced.bound) == (pytest.approx(1.25), None)


def test_a_share_beside_other_work_is_not_to_be_believed() -> None:
    busy = Runs(64, 0.032, np.full(10, 0.0064))  # half of the time on the core
    share, *_ = speed.figures(64, [speed.Round(busy, cost(3.0, 2.0), cost(0.5), cost(0.5))])
    assert share.note.endswith("not to be believed: the bare runtime had 50% of its core")


def test_two_lanes_are_worth_twice_what_a_step_still_costs() -> None:
    ratio, serial, most = lanes.figures([(cost(2.0), cost(2.5, 1.5))] * 3)
    assert (ratio.value, ratio.reached) == (pytest.approx(1.6), False)
    assert serial.value == pytest.approx(1000.0)  # µs
    assert most.value == pytest.approx(2.5)


def test_a_message_is_compared_without_the_runtime() -> None:
    ratio, tuned, rate = messages.figures([(cost(3.0, 1.0), cost(1.0), cost(0.5))])
    assert tuned.value == pytest.approx(4.0) and tuned.bound is None
    assert (ratio.value, ratio.reached, rate.value) == (2.0, False, 1000.0)


def test_a_lone_step_is_compared_with_trip_and_run_together() -> None:
    (figure,) = lone.figures([(300e-6, 150e-6, 100e-6), (900e-6, 150e-6, 100e-6), (310e-6, 150e-6, 100e-6)])
    assert figure.value == pytest.approx(1.24)
    assert figure.reached


def test_a_percentile_is_of_each_round_and_compared_with_its_full_batch() -> None:
    latencies = np.append(np.full(95, 0.001), np.full(5, 0.010))
    ratio, lag = poisson.figures([poisson.Round(latencies, np.full(100, 0.0005), 0.005, 100.0)] * 3)
    assert (ratio.value, ratio.reached) == (pytest.approx(2.0), True)
    assert lag.value == pytest.approx(0.5)


def test_memory_is_less_what_is_accounted_for() -> None:
    found = Memory(resident=1_000_000, arena=600_000, kept=100_000, sequences=100)
    ratio, served, each, kept = crowd.figures([(cost(1.0), cost(1.2))], found)
    assert (ratio.value, ratio.reached) == (pytest.approx(1.2), False)
    assert (served.value, served.reached) == (100, False)  # all of 100,000 must be live
    assert (each.value, each.reached, kept.value) == (3000, False, 1000)


def test_mixed_lengths_are_the_share_of_equal_ones() -> None:
    rate, cpu = rolling.figures([(Pace(40_000, 25e-6), Pace(50_000, 20e-6))])
    assert (rate.value, rate.reached, cpu.value) == (pytest.approx(0.8), True, pytest.approx(0.8))


def test_the_last_of_the_first_answers_counts() -> None:
    (figure,) = start.figures([(1.0, 1.4), (1.1, 1.6), (1.0, 1.3)])
    assert (figure.value, figure.reached) == (1.4, True)


def test_a_lane_beside_a_large_model_is_compared_with_one_beside_a_small_one() -> None:
    found = caches.figure(4, 64, [(300e-6, 150e-6), (200e-6, 100e-6), (900e-6, 100e-6)])
    assert (found.value, found.bound) == (2.0, None)
    assert found.note.startswith("300 µs")
