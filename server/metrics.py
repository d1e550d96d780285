"""What operators watch, in an injected registry. A tick costs the same for 1 row and for 64: it is observed by pieces,
in plain Python, which for a handful of numbers is quicker than arrays."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.errors import HeadraceError, TakenOver
from headrace.spec import ModelSpec

from .batch import Batch
from .state import State
from .steps import Answers, Failed, Stepped, Steps, pack
from .writing.waits import Waited
from .writing.writers import Writers

SECONDS = (*(m * 10.0**e for e in range(-5, 1) for m in (1, 2.5, 5)), 10.0)
ROWS = tuple(float(2**e) for e in range(11))
TOKENS = tuple(float(2**e) for e in range(16))

LABELS = ("model", "version", "lane")
NOWHERE = ("", "", "")
HISTOGRAMS = {
    "queue_seconds": ("From arrival to the start of the batch, of each step", SECONDS),
    "compute_seconds": ("Run of a batch on the runtime", SECONDS),
    "step_seconds": ("From arrival to the answer, of each step", SECONDS),
    "first_token_seconds": ("From arrival to the first token, of each text", SECONDS),
    "between_tokens_seconds": ("From one token of a text to the next", SECONDS),
    "batch_rows": ("Steps in a batch", ROWS),
    "batch_tokens": ("Time steps in a batch", TOKENS),
}
COUNTERS = {
    "compute_cpu_seconds": "CPU time inside the runtime",
    "steps": "Steps applied",
    "tokens": "Time steps applied",
    "written_tokens": "Tokens chosen for texts",
    "repeats": "Steps sent again and answered from memory",
    "takeovers": "Callers told that another open has their sequence",
    "expiries": "Sequences that expired unused",
}
GAUGES = {
    "live_sequences": "Sequences open or waiting to be resumed",
    "ready_rows": "Rows that wait for a batch",
    "writing_texts": "Texts that grow",
    "waiting_texts": "Texts that wait for a place in the batch, or for their prompt to be read",
    "kept_bytes": "Replies that wait for acknowledgement",
    "cache_bytes": "Keys and values of live sequences",
    "batch_limit_rows": "Most rows in a batch",
    "batch_limit_tokens": "Most time steps in a batch, unless a single row has more",
}


class Histogram:
    """Counts in buckets. Written by one thread, read by another: a scrape may lag by a tick."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times  # the first bound that is not below the value
        self._sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts, as Prometheus wants them."""
        ends = [*map(str, self._bounds), "+Inf"]
        return list(zip(ends, map(float, accumulate(self._counts)), strict=True))

    @property
    def sum(self) -> float:
        return self._sum


class LaneMeter:
    """The figures of one lane; who has it writes them."""

    def __init__(self, labels: tuple[str, str, str]) -> None:
        self.labels = labels
        self.histograms = {name: Histogram(bounds) for name, (_, bounds) in HISTOGRAMS.items()}
        self.counters: dict[str, float] = dict.fromkeys(COUNTERS, 0)
        self.errors: Counter[str] = Counter()
        self._state: State | None = None
        self._writers: Writers | None = None

    def watch(self, state: State, writers: Writers) -> None:
        """Whose gauges are read when somebody scrapes, from another thread: true a moment ago."""
        self._state, self._writers = state, writers

    def gauges(self) -> dict[str, int]:
        """By the names of GAUGES."""
        if self._state is None or self._writers is None:
            return dict.fromkeys(GAUGES, 0)
        return {
            "live_sequences": len(self._state.sequences),
            "ready_rows": self._state.scheduler.ready_rows,
            "writing_texts": self._writers.writing,
            "waiting_texts": self._writers.waiting,
            "kept_bytes": self._state.kept.total,
            "cache_bytes": self._state.budget.total,
            "batch_limit_rows": self._state.scheduler.rows,
            "batch_limit_tokens": self._state.scheduler.tokens,
        }

    def started(self, pieces: Sequence[Steps], now: float) -> None:
        """Steps whose first batch begins; now: seconds."""
        for piece in pieces:
            self.histograms["queue_seconds"].observe(now - piece.arrived, len(piece.lengths))

    def ran(self, batch: Batch, seconds: float, compute_cpu: float, calls: int) -> None:
        """A batch that ran so many times, how long in all, and the CPU time of the runtime in seconds."""
        self.histograms["compute_seconds"].observe(seconds / calls, calls)
        self.histograms["batch_rows"].observe(len(batch), calls)
        self.histograms["batch_tokens"].observe(len(batch.values[0]), calls)
        self.counters["compute_cpu_seconds"] += compute_cpu

    def settled(self, pieces: Sequence[Steps], sound: NDArray[np.bool_], now: float, calls: int) -> None:
        """Steps that are answered, now (seconds); which of them were applied [rows]. One that took several calls of
        the runtime counts as so many steps, each of a part of the time: for texts go on by one token at a time, too."""
        step, tokens = self.histograms["step_seconds"], 0
        for piece in pieces:
            step.observe((now - piece.arrived) / calls, len(piece.lengths) * calls)
            tokens += piece.tokens
        applied = sound.tobytes().count(1)  # as np.count_nonzero, in a third of the time
        self.counters["steps"] += applied * calls
        self.counters["tokens"] += tokens if applied == len(sound) else int(pack(pieces, "lengths")[sound].sum())

    def wrote(self, waited: Waited) -> None:
        """Tokens that were chosen together have mostly waited equally long."""
        for name, column in (("first_token_seconds", waited.first), ("between_tokens_seconds", waited.between)):
            for seconds, times in Counter(column.tolist()).items():
                self.histograms[name].observe(seconds, times)
        self.counters["written_tokens"] += len(waited.first) + len(waited.between)

    def answered(self, answers: Answers) -> None:
        """Whatever leaves the lane. Steps that were cancelled or late are errors like others."""
        for _, answer in answers:
            if isinstance(answer, Failed):
                self.errors[type(answer.error).__name__] += 1
                self.counters["takeovers"] += answer.position is None and isinstance(answer.error, TakenOver)

    def admitted(self, answers: Answers) -> None:
        """What is answered without a batch: outputs among it were computed before."""
        for _, answer in answers:
            if isinstance(answer, Stepped):
                self.counters["repeats"] += len(answer.keys)

    def expired(self, sequences: int) -> None:
        self.counters["expiries"] += sequences


class Metrics(Collector):
    """All lanes' figures, collected when somebody scrapes; and `_refused`, errors met before a lane was reached."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._meters: list[LaneMeter] = []
        self._refused: Counter[str] = Counter()
        registry.register(self)

    @classmethod
    def unseen(cls) -> Metrics:
        """In a registry of their own, that nobody scrapes."""
        return cls(CollectorRegistry())

    def lane(self, spec: ModelSpec, version: str, lane: int) -> LaneMeter:
        meter = LaneMeter((spec.name, version, str(lane)))
        self._meters.append(meter)
        return meter

    def refused(self, error: HeadraceError) -> None:
        """An open or a step that no lane has seen: its labels other than the code are empty."""
        self._refused[type(error).__name__] += 1

    def total(self, counter: str) -> float:
        """One of COUNTERS, over all lanes."""
        return sum(meter.counters[counter] for meter in self._meters)

    def collect(self) -> Iterable[Metric]:
        for name, (text, _) in HISTOGRAMS.items():
            family = HistogramMetricFamily(f"headrace_{name}", text, labels=LABELS)
            for meter in self._meters:
                histogram = meter.histograms[name]
                family.add_metric(meter.labels, histogram.buckets(), histogram.sum)
            yield family
        yield from self._counters()
        gauges = [(meter.labels, meter.gauges()) for meter in self._meters]
        for name, text in GAUGES.items():
            gauge = GaugeMetricFamily(f"headrace_{name}", text, labels=LABELS)
            for labels, values in gauges:
                gauge.add_metric(labels, values[name])
            yield gauge

    def _counters(self) -> Iterator[Metric]:
        for name, text in COUNTERS.items():
            counter = CounterMetricFamily(f"headrace_{name}", text, labels=LABELS)
            for meter in self._meters:
                counter.add_metric(meter.labels, meter.counters[name])
            yield counter
        errors = CounterMetricFamily("headrace_errors", "Failed opens and steps, by error", labels=(*LABELS, "code"))
        for labels, counts in [(NOWHERE, self._refused), *((meter.labels, meter.errors) for meter in self._meters)]:
            for code, count in list(counts.items()):
                errors.add_metric((*labels, code), count)
        yield errors
