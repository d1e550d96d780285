"""The limit: the same file on ONNX Runtime in this process, one thread, no server and no state kept."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from headrace.contract import read_model
from headrace.spec import LENGTHS

BATCHES = (1, 8, 32, 64, 128, 256)


class Bare:
    """Steps of one time step, their states fed and fetched as plain arrays."""

    def __init__(self, file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        _, self.spec = read_model(file)

    def rate(self, rows: int, seconds: float) -> float:
        """Rows a second at this batch."""
        rng = np.random.default_rng(0)
        feed = {i.name: i.sample(rows, rng) for i in self.spec.inputs}
        feed |= {s.input: np.zeros((rows, *s.shape), s.dtype) for s in self.spec.states}
        feed[LENGTHS] = np.ones(rows, np.int64)
        runs, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            self._session.run(None, feed)
            runs += 1
        return runs * rows / took

    def best(self, seconds: float) -> tuple[int, float]:
        """The best batch and its rows a second, `seconds` for each batch."""
        rates = {rows: self.rate(rows, seconds) for rows in BATCHES}
        rows = max(rates, key=rates.__getitem__)
        return rows, rates[rows]
