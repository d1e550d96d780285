"""The models that are measured on a GPU, exported on demand: untrained, for only their size matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console

from headrace.contract import read_model
from headrace.export import export_model
from headrace.export.caches import plain
from headrace.spec import LENGTHS, PAST, ModelSpec
from headrace.training.models import Decoder, EncoderClassifier, RecurrentClassifier, SequenceModel

from .roofline import Cost, matrices

FEATURES, LABELS, SYMBOLS, WIDTH, LAYERS, HEADS = 64, [str(n) for n in range(32)], "abcdefghijklmnop", 512, 6, 8
TOKENS = 64
"""In each row of an encoder, which takes whole sequences."""
CELLS = 512
"""What a decoder's rows have behind them."""

MODELS: dict[str, Callable[[], SequenceModel]] = {
    "lstm-2x256": lambda: RecurrentClassifier("lstm", FEATURES, 256, 2, LABELS),
    "lstm-4x1024": lambda: RecurrentClassifier("lstm", FEATURES, 1024, 4, LABELS),
    "encoder-6x512": lambda: EncoderClassifier(FEATURES, WIDTH, HEADS, LAYERS, LABELS),
    "decoder-6x512": lambda: Decoder(SYMBOLS, WIDTH, HEADS, LAYERS, longest=2 * CELLS),
}

Feed = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Job:
    """A model with what a call of it takes.

    kept: names of the inputs that stay between calls, its states or caches; length: time steps of each row
    """

    graph: onnx.ModelProto
    spec: ModelSpec
    cost: Cost
    kept: tuple[str, ...]
    length: int

    def feed(self, rows: int) -> Feed:
        """Random values, and states or caches of zeros."""
        rng, tokens, spec = np.random.default_rng(0), rows * self.length, self.spec
        feed = {given.name: given.sample(tokens, rng) for given in spec.inputs}
        feed |= {state.input: np.zeros((rows, *state.shape), state.dtype) for state in spec.states}
        for cache in spec.caches:
            cells = np.zeros((rows, CELLS, cache.heads, cache.width), np.float32)
            feed |= {cache.keys: cells, cache.values: cells, PAST: np.full(rows, CELLS)}
        return feed | {LENGTHS: np.full(rows, self.length)}


def job(name: str, models: Path) -> Job:
    """Of one of MODELS, in `models/NAME/1/model.onnx`, made if it is not there."""
    file = models / name / "1" / "model.onnx"
    if not file.exists():
        model = MODELS[name]().eval()
        export_model(model, model.describe(name), models, version="1", quick=True, console=Console(quiet=True))
    return of(*read_model(file))


def of(graph: onnx.ModelProto, spec: ModelSpec) -> Job:
    cells, length = (CELLS if spec.caches else TOKENS), 1 if spec.stateful or spec.caches else TOKENS
    attention = 0 if spec.stateful else 4 * LAYERS * WIDTH * cells
    states = sum(2 * state.cells().nbytes for state in spec.states)  # read and written
    caches = sum(2 * 4 * CELLS * cache.heads * cache.width for cache in spec.caches)  # keys and values
    kept = (*(s.input for s in spec.states), *(n for c in spec.caches for n in (c.keys, c.values)))
    runnable = plain(graph, spec) if spec.caches else graph
    return Job(runnable, spec, Cost(matrices(graph), attention, states + caches), kept, length)
