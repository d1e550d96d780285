"""A plain loop around an exported decoder: one ONNX Runtime session, the caches as arrays of numpy.

The slow truth of what an engine does in place: `Decoding` steps many sequences of any lengths at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from headrace.contract import read_model
from headrace.errors import ConfigurationError, InvalidInput
from headrace.ragged import Ragged
from headrace.spec import FILLED, LENGTHS, PAST, ModelSpec

from .caches import plain
from .kept import END
from .runners import runtime
from .streams import Named, Runner

START = "start.onnx"
"""The file of a start graph, beside the model's."""

Choose = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""Logits [rows, symbols] → the tokens that follow [rows]."""


class Loop:
    """A model with caches, ready to be run."""

    def __init__(self, spec: ModelSpec, run: Runner, start: Runner | None = None) -> None:
        self.spec, self._run, self._start = spec, run, start

    @classmethod
    def of(cls, graph: onnx.ModelProto, spec: ModelSpec, start: onnx.ModelProto | None = None) -> Loop:
        """An exported graph and, if the model has one, its start graph."""
        return cls(spec, runtime(plain(graph, spec)), runtime(start) if start is not None else None)

    @classmethod
    def load(cls, file: Path) -> Loop:
        """The exported model at `file`. Raises ConfigurationError if it cannot be used, or has no caches."""
        graph, spec = read_model(file)
        if not spec.caches:
            raise ConfigurationError(f"{file} is of a model without caches; nothing is to be decoded with it")
        return cls.of(graph, spec, read_model(file.with_name(START))[0] if spec.start else None)

    def open(self, rows: int) -> Decoding:
        """As many fresh sequences."""
        return Decoding(self, {PAST: np.zeros(rows, np.int64)} | self._empty(rows))

    def begin(self, sources: Sequence[NDArray[np.int64]]) -> Decoding:
        """A fresh sequence for each source, [time] ids. Raises InvalidInput for a source that is too long or empty."""
        start = self.spec.start
        if self._start is None or start is None:
            raise ConfigurationError(f"{self.spec.name} has no start graph")
        packed = Ragged.of(sources)
        if len(packed.values) and packed.lengths.max() > start.longest:
            raise InvalidInput(f"a source of {self.spec.name} has at most {start.longest} time steps")
        cells = self._start({start.inputs[0].name: packed.values, LENGTHS: packed.lengths})
        counts = {PAST: np.zeros(len(sources), np.int64), FILLED: packed.lengths}
        return Decoding(self, counts | self._empty(len(sources)) | _padded(cells, packed.lengths))

    def run(self, feed: Named) -> Named:
        return self._run(feed)

    def _empty(self, rows: int) -> Named:
        growing = [cache for cache in self.spec.caches if not cache.filled]
        return {n: np.zeros((rows, 0, c.heads, c.width), np.float32) for c in growing for n in (c.keys, c.values)}


class Decoding:
    """Sequences side by side; what is known of their past is here, and a step changes it."""

    def __init__(self, loop: Loop, state: Named) -> None:
        self._loop, self._state = loop, state

    def step(self, steps: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """The next tokens of every sequence, [time] each → logits of them all, packed: [tokens, symbols].

        Raises InvalidInput if a sequence becomes longer than the model takes.
        """
        spec, packed = self._loop.spec, Ragged.of(steps)
        if spec.longest is not None and np.add(self._state[PAST], packed.lengths).max() > spec.longest:
            raise InvalidInput(f"a sequence of {spec.name} has at most {spec.longest} time steps")
        got = self._loop.run({spec.inputs[0].name: packed.values, LENGTHS: packed.lengths} | self._state)
        self._state = {name: got[name + END] for name in self._state}
        logits: NDArray[np.float32] = got[spec.outputs[0].name].astype(np.float32)
        return logits


def generate(decoding: Decoding, prompts: Sequence[NDArray[np.int64]], steps: int, choose: Choose) -> NDArray[np.int64]:
    """Each prompt, then `steps` tokens, each chosen from the logits of the one before: [rows, steps]."""
    ends = np.cumsum([len(prompt) for prompt in prompts]) - 1
    chosen = [choose(decoding.step(prompts)[ends])]  # each [rows]
    while len(chosen) < steps:
        chosen.append(choose(decoding.step(list(chosen[-1][:, None]))))
    return np.stack(chosen, 1)


def likeliest(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """[rows, symbols] → [rows]."""
    best: NDArray[np.int64] = logits.argmax(-1)
    return best


def drawn(rng: np.random.Generator, allowed: NDArray[np.int64], temperature: float = 1.0) -> Choose:
    """Draws from the softmax of logits / temperature over the tokens that are allowed."""

    def choose(logits: NDArray[np.float32]) -> NDArray[np.int64]:
        noise = rng.gumbel(size=(len(logits), len(allowed)))  # the largest of logits plus such noise is such a draw
        best: NDArray[np.int64] = allowed[(logits[:, allowed] / temperature + noise).argmax(-1)]
        return best

    return choose


def _padded(cells: Named, lengths: NDArray[np.int64]) -> Named:
    """Each [tokens, heads, width] → [rows, longest, heads, width]."""
    valid = np.arange(lengths.max()) < lengths[:, None]
    found: Named = {}
    for name, packed in cells.items():
        found[name] = np.zeros((*valid.shape, *packed.shape[1:]), packed.dtype)
        found[name][valid] = packed
    return found
