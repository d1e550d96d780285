"""The limit: the same file on ONNX Runtime in this process, one thread, no server and no state kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from headrace.contract import read_model
from headrace.spec import LENGTHS

BATCHES = (1, 8, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class Runs:
    """What happened at one batch. cpu: seconds of this thread, all runs together; times [runs]: seconds of each."""

    rows: int
    cpu: float
    times: NDArray[np.float64]

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / float(self.times.mean())

    @property
    def share(self) -> float:
        """Of the core's time: below 1, something else ran there."""
        return self.cpu / float(self.times.sum())

    @property
    def row_cpu(self) -> float:
        """CPU seconds a row."""
        return self.cpu / (len(self.times) * self.rows)


class Bare:
    """Steps of one time step, their states fed and fetched as plain arrays."""

    def __init__(self, file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        _, self.spec = read_model(file)

    def runs(self, rows: int, seconds: float) -> Runs:
        """One run after the other at this batch, for so long."""
        feed, took = self._feed(rows), []
        cpu = time.thread_time()
        began = last = time.perf_counter()
        while last - began < seconds:
            self._session.run(None, feed)
            now = time.perf_counter()
            took.append(now - last)
            last = now
        return Runs(rows, time.thread_time() - cpu, np.array(took))

    def best(self, seconds: float) -> int:
        """The batch with the most rows a second, `seconds` for each."""
        return max(BATCHES, key=lambda rows: self.runs(rows, seconds).rate)

    def _feed(self, rows: int) -> dict[str, NDArray[np.generic]]:
        rng = np.random.default_rng(0)
        feed: dict[str, NDArray[np.generic]] = {i.name: i.sample(rows, rng) for i in self.spec.inputs}
        feed |= {s.input: np.zeros((rows, *s.shape), s.dtype) for s in self.spec.states}
        feed[LENGTHS] = np.ones(rows, np.int64)
        return feed
