"""The start graph of a model whose sequences begin with a source: a stateless model of its own, beside the first."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from headrace.contract import with_spec
from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec
from headrace.training.models import SequenceModel
from headrace.training.models.translator import StartedModel
from headrace.training.ragged import State

from .caches import opset
from .decode import START, Loop
from .parity import FULL, LIGHT, TOLERANCE, verify
from .trace import to_onnx

ROWS, STEPS = 9, 4
"""Sources, and time steps behind each, in the check of both graphs together."""


def start_files(
    model: SequenceModel, graph: onnx.ModelProto, spec: ModelSpec, *, quick: bool, console: Console
) -> dict[str, bytes]:
    """The verified start graph of `model`, whose step is `graph`, by its file's name; nothing for a model without one.

    Raises ConfigurationError if it differs from the model, or if the two graphs together do.
    """
    if spec.start is None:
        return {}
    started, encoder = spec.started(), encoder_of(model)
    first = to_onnx(encoder, started, opset(graph))
    report = verify(encoder, first, started, grid=LIGHT if quick else FULL, console=console)
    together(model, Loop.of(graph, spec, first))
    described = with_spec(first, started.model_copy(update={"parity": report.parity, "versions": spec.versions}))
    onnx.checker.check_model(described, full_check=True)
    return {START: described.SerializeToString()}


def encoder_of(model: SequenceModel) -> SequenceModel:
    """The model's `encode` as the step of a stateless one. Raises ConfigurationError for a model that has none."""
    if not isinstance(model, StartedModel):
        raise ConfigurationError(f"{type(model).__name__} has a start in its spec, but no `encode`")
    return _Encoder(model).eval()


def together(model: SequenceModel, loop: Loop, seed: int = 0) -> float:
    """The largest error of sources of many lengths, begun at once and stepped in chunks, beside each alone and whole.

    Raises ConfigurationError if it is above TOLERANCE.
    """
    assert isinstance(model, StartedModel) and loop.spec.start is not None
    rng, source, target = np.random.default_rng(seed), loop.spec.start.inputs[0], loop.spec.inputs[0]
    sources = [source.sample(int(n), rng) for n in rng.integers(1, min(loop.spec.start.longest, 20) + 1, ROWS)]
    targets = [target.sample(2 * STEPS, rng) for _ in sources]
    decoding, found = loop.begin(sources), []
    for part in (slice(0, STEPS), slice(STEPS, STEPS + 1), slice(STEPS + 1, None)):
        steps = [target[part] for target in targets]
        found.append(decoding.step(steps).reshape(ROWS, len(steps[0]), -1))
    want = np.stack([_alone(model, *pair) for pair in zip(sources, targets, strict=True)])  # [rows, time, symbols]
    error = float(np.abs(np.concatenate(found, 1) - want).max() / np.abs(want).max())
    if not error <= TOLERANCE:
        raise ConfigurationError(f"{loop.spec.name}: start graph and graph together differ from PyTorch by {error:.1e}")
    return error


@torch.no_grad()
def _alone(model: StartedModel, source: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits [time, symbols] in eager PyTorch."""
    state = model.start(torch.from_numpy(source), torch.tensor([len(source)]))
    y, _ = model.step(torch.from_numpy(target), torch.tensor([len(target)]), state)
    logits: NDArray[np.float32] = y.numpy()
    return logits


class _Encoder(SequenceModel):
    def __init__(self, model: StartedModel) -> None:
        super().__init__()
        self.model = model

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        return tuple(self.model.encode(x, lengths).values()), state

    def describe(self, name: str) -> ModelSpec:
        return self.model.describe(name).started()
