"""Whether a smaller file is still good enough: its size, speed and score beside those of the float32 graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
from rich.console import Console

from headrace.errors import ConfigurationError
from headrace.spec import LENGTHS, Input, ModelSpec, Parity, Score
from headrace.training.models import SequenceModel

from .child import refuse_unloadable
from .graph_model import GraphModel
from .parity import LIGHT, Report, verify
from .precision import LIMITS, Precision, reduced
from .runners import runtime
from .streams import Draw, Named, Runner, initial

ROWS, STEPS, ROUNDS = 32, 8, 50
"""Of the timed batch, and how often both graphs run it in turn."""

Judge = Callable[[SequenceModel], Score]
"""The task's figure of any model with the signature of its own, on the real test set."""


@dataclass(frozen=True, slots=True)
class Lighter:
    """A reduced graph beside the float32 one: bytes, how many times as fast it is, and both scores."""

    precision: Precision
    graph: onnx.ModelProto
    bytes: int
    before: int
    speed: float
    score: Score
    reference: Score

    @property
    def drop(self) -> float:
        """By how much the score is worse, in its own unit; negative where it is better."""
        fall = self.reference.value - self.score.value
        return fall if self.score.better == "higher" else -fall

    def verified(self, model: SequenceModel, spec: ModelSpec, *, draw: Draw = Input.sample, console: Console) -> Report:
        """It too is compared with `model`, for no score says that a graph is ragged and streamed rightly.

        Raises ConfigurationError if it is farther from it than its numbers are coarse, or than one of the controls.
        """
        named = spec.model_copy(update={"name": f"{spec.name}-{self.precision}"})
        grid = replace(LIGHT, draw=draw)
        return verify(model, self.graph, named, grid=grid, limit=LIMITS[self.precision], console=console)

    def spec(self, full: ModelSpec, parity: Parity | None) -> ModelSpec:
        """Under a name of its own, so that both can be served side by side, and with a parity of its own."""
        before = self.reference.model_copy(update={"metric": f"{self.reference.metric} in float32"})
        own = {"name": f"{full.name}-{self.precision}", "scores": (self.score, before), "parity": parity}
        return full.model_copy(update=own)

    def __str__(self) -> str:
        return (
            f"{self.precision}: {self.bytes:,} bytes, {self.bytes / self.before:.2f} of float32, {self.speed:.2f} x as "
            f"fast, {self.score.metric} {self.score.value:.4f} (float32 {self.reference.value:.4f})"
        )


Lighten = Callable[[onnx.ModelProto, ModelSpec], Lighter]
"""`lighter`, all but the graph and its spec given."""


def lighter(graph: onnx.ModelProto, spec: ModelSpec, precision: Precision, judge: Judge, most: float) -> Lighter:
    """The graph in `precision`, measured.

    Raises ConfigurationError if ONNX Runtime cannot load it, or its score drops by more than `most`.
    """
    small = reduced(graph, precision)
    refuse_unloadable(small, f"{spec.name} in {precision}")
    found = Lighter(
        precision,
        small,
        small.ByteSize(),
        graph.ByteSize(),
        _speed(runtime(small), runtime(graph), spec),
        judge(GraphModel(small, spec)),
        judge(GraphModel(graph, spec)),
    )
    if not found.drop <= most:  # nor if one of the scores is no number
        raise ConfigurationError(
            f"{spec.name} in {precision}: {found.score.metric} falls from {found.reference.value:.4f} to "
            f"{found.score.value:.4f}, by more than {most}; nothing is published. Allow more with --max-drop, or take "
            "another precision"
        )
    return found


def _speed(small: Runner, large: Runner, spec: ModelSpec) -> float:
    """How many times as fast as `large` the `small` one is; of both, in turn, the shortest time, least disturbed."""
    feed = _feed(spec)
    times = [(_seconds(large, feed), _seconds(small, feed)) for _ in range(ROUNDS)]
    return min(t for t, _ in times) / min(t for _, t in times)


def _feed(spec: ModelSpec) -> Named:
    rng, steps = np.random.default_rng(0), min(STEPS, spec.chunk.longest)
    inputs = {i.name: i.sample(ROWS * steps, rng) for i in spec.inputs}
    states = {s.input: initial(s, ROWS) for s in spec.states}
    return inputs | states | {LENGTHS: np.full(ROWS, steps)}


def _seconds(run: Runner, feed: Named) -> float:
    began = time.perf_counter()
    run(feed)
    return time.perf_counter() - began
