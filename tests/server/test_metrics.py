"""Read back from the registry, as a scraper sees them."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from headrace.errors import InvalidInput, ModelFailed, Overloaded
from headrace.server.batch import Batch
from headrace.server.commands import Cancel, Command, Mode, Open, Step
from headrace.server.limits import Limits
from headrace.server.metrics import COUNTERS, GAUGES, HISTOGRAMS, Histogram, LaneMeter, Metrics
from headrace.server.steps import Closed, Failed
from headrace.server.writing.waits import Waited

from .fakes import CUT_SUM, SUM, Clock, Heard, SumEngine, admit, steps, sum_lane

LANE = {"model": "sum", "version": "1", "lane": "0"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def meter(registry: CollectorRegistry) -> LaneMeter:
    return Metrics(registry).lane(SUM, "1", 0)


def read(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"headrace_{name}", LANE | labels)


def test_a_value_on_a_bound_counts_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for times, value in enumerate((0.5, 1.0, 1.5, 9.0), 1):
        histogram.observe(value, times)
    assert histogram.buckets() == [("1.0", 3.0), ("2.0", 6.0), ("+Inf", 10.0)]
    assert histogram.sum == 0.5 + 2.0 + 4.5 + 36.0


def test_a_tick_is_observed_once_for_each_row(registry: CollectorRegistry, meter: LaneMeter) -> None:
    early = steps(Heard(), [(0, 0, [1, 2]), (1, 0, [1])], now=10.0)
    late = steps(Heard(), [(2, 0, [1, 2, 3])], now=10.25)
    none = np.zeros(3, np.int64)
    meter.started([early, late], now=10.5)
    meter.ran(Batch((np.zeros((6, 2)),), none, none, none, none == 0), seconds=1.0, compute_cpu=0.75, calls=1)
    meter.settled([early, late], np.array([True, False, True]), now=12.0, calls=1)
    assert read(registry, "queue_seconds_count") == 3
    assert read(registry, "queue_seconds_sum") == pytest.approx(2 * 0.5 + 0.25)
    assert read(registry, "queue_seconds_bucket", le="0.25") == 1
    assert read(registry, "step_seconds_sum") == pytest.approx(2 * 2.0 + 1.75)
    assert (read(registry, "compute_seconds_count"), read(registry, "compute_seconds_sum")) == (1, 1.0)
    assert read(registry, "compute_cpu_seconds_total") == 0.75
    assert (read(registry, "batch_rows_count"), read(registry, "batch_rows_sum")) == (1, 3)
    assert (read(registry, "batch_tokens_count"), read(registry, "batch_tokens_sum")) == (1, 6)
    assert (read(registry, "steps_total"), read(registry, "tokens_total")) == (2, 5)  # the second row was not applied


def test_a_step_of_several_calls_counts_as_so_many(registry: CollectorRegistry, meter: LaneMeter) -> None:
    texts = steps(Heard(), [(0, 0, [1, 2, 3, 4]), (1, 0, [1, 2, 3, 4])], now=10.0)
    meter.settled([texts], np.array([True, True]), now=12.0, calls=4)
    assert (read(registry, "steps_total"), read(registry, "tokens_total")) == (8, 8)
    assert (read(registry, "step_seconds_count"), read(registry, "step_seconds_sum")) == (8, pytest.approx(8 * 0.5))


def test_a_step_that_takes_several_ticks_counts_once_and_each_of_its_batches_by_itself(
    registry: CollectorRegistry,
) -> None:
    sink, clock, meter = Heard(), Clock(), Metrics(registry).lane(SUM, "1", 0)
    lane = sum_lane(clock, spec=CUT_SUM, meter=meter, limits=Limits(rows=4, sequences=8, part=2, few=0))
    admit(lane, Open(sink, 1, ("", "a"), Mode.FRESH, 1), Step(steps(sink, [(1, 0, [1] * 5)], now=clock.now - 1)))
    while lane.state.busy:
        lane.tick()
        clock.now += 1
    assert (read(registry, "batch_rows_sum"), read(registry, "batch_tokens_sum")) == (3, 5)
    assert (read(registry, "steps_total"), read(registry, "tokens_total")) == (1, 5)
    assert (read(registry, "queue_seconds_sum"), read(registry, "step_seconds_sum")) == (1, 3)


def test_steps_on_which_the_model_failed_are_not_counted_as_applied(registry: CollectorRegistry) -> None:
    sink, meter = Heard(), Metrics(registry).lane(SUM, "1", 0)
    engine = SumEngine(20, refuse=lambda values: bool((values == 7).any()))
    lane = sum_lane(Clock(), engine=engine, meter=meter)
    opens = [Open(sink, key, ("", str(key)), Mode.FRESH, 1) for key in (1, 2)]
    admit(lane, *opens, Step(steps(sink, [(1, 0, [1, 1]), (2, 0, [7, 7, 7])])))
    lane.tick()
    assert (read(registry, "steps_total"), read(registry, "tokens_total")) == (1, 2)
    assert read(registry, "errors_total", code="ModelFailed") == 1
    assert (read(registry, "batch_rows_sum"), read(registry, "batch_tokens_sum")) == (2, 5)


def test_what_no_lane_has_seen_is_counted_without_its_labels(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    metrics.refused(Overloaded("x"))
    metrics.refused(Overloaded("x"))
    labels = {"model": "", "version": "", "lane": "", "code": "Overloaded"}
    assert registry.get_sample_value("headrace_errors_total", labels) == 2


def test_failures_are_counted_by_error(registry: CollectorRegistry, meter: LaneMeter) -> None:
    sink = Heard()
    errors = (InvalidInput("x"), ModelFailed("x"), InvalidInput("x"))
    meter.answered([(sink, Failed(0, 0, error)) for error in errors] + [(sink, Closed((1,)))])
    assert read(registry, "errors_total", code="InvalidInput") == 2
    assert read(registry, "errors_total", code="ModelFailed") == 1


def test_a_lane_counts_repeats_takeovers_expiries_and_what_never_ran(registry: CollectorRegistry) -> None:
    clock, old, new = Clock(), Heard(), Heard()
    meter = Metrics(registry).lane(SUM, "1", 0)
    lane = sum_lane(clock, meter=meter)

    def turn(*commands: Command) -> None:
        admit(lane, *commands)
        lane.tick()

    first = Step(steps(old, [(1, 0, [1])]))
    turn(Open(old, 1, ("", "a"), Mode.FRESH, 1), first)
    turn(first, Step(steps(old, [(1, 1, [1])], deadline=clock.now - 1)))  # again; and one that is too late
    key, position = np.array([1], np.uint32), np.array([1])
    turn(Step(steps(old, [(1, 1, [1])])), Cancel(old, key, position))
    turn(Open(new, 7, ("", "a"), Mode.RESUME, 2))
    clock.now += 1000
    turn()
    counted = {name: read(registry, f"{name}_total") for name in ("steps", "repeats", "takeovers", "expiries")}
    assert counted == {"steps": 1, "repeats": 1, "takeovers": 1, "expiries": 1}
    assert [read(registry, "errors_total", code=code) for code in ("DeadlineExceeded", "Cancelled")] == [1, 1]


def test_lanes_are_told_apart(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    for number, opens in ((0, 3), (1, 5)):
        lane = sum_lane(Clock(), meter=metrics.lane(SUM, "1", number))
        admit(lane, *(Open(Heard(), key, ("", str(key)), Mode.FRESH, 1) for key in range(opens)))
    assert [read(registry, "live_sequences", lane=lane) for lane in "01"] == [3, 5]


def test_every_figure_is_exposed_before_anything_happens(registry: CollectorRegistry, meter: LaneMeter) -> None:
    text = generate_latest(registry).decode()
    assert meter.labels == tuple(LANE.values())
    for name in (*(f"{h}_count" for h in HISTOGRAMS), *(f"{c}_total" for c in COUNTERS), *GAUGES):
        assert read(registry, name) == 0
        assert f"headrace_{name}{{" in text


def test_a_batchs_limits_are_told_and_followed(registry: CollectorRegistry) -> None:
    lane = sum_lane(Clock(), meter=Metrics(registry).lane(SUM, "1", 0), limits=Limits(rows=4, tokens=64, sequences=8))
    lane.admit(wait=False)
    assert (read(registry, "batch_limit_rows"), read(registry, "batch_limit_tokens")) == (4, 64)
    lane.state.scheduler.limit(3, 50)
    lane.admit(wait=False)
    assert (read(registry, "batch_limit_rows"), read(registry, "batch_limit_tokens")) == (3, 50)


def test_tokens_of_texts_are_counted_by_how_long_they_were_waited_for(
    registry: CollectorRegistry, meter: LaneMeter
) -> None:
    meter.wrote(Waited(np.array([2.0]), np.array([0.5, 0.5, 0.25])))
    assert (read(registry, "first_token_seconds_count"), read(registry, "first_token_seconds_sum")) == (1, 2.0)
    assert (read(registry, "between_tokens_seconds_count"), read(registry, "between_tokens_seconds_sum")) == (3, 1.25)
    assert read(registry, "written_tokens_total") == 4
