"""An exported graph behind the signature of the model that it was made of, so that it can be scored like it."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor

from headrace.spec import LENGTHS, ModelSpec
from headrace.training.models import SequenceModel
from headrace.training.ragged import State

from .runners import bare, runtime, several


class GraphModel(SequenceModel):
    """`step` by ONNX Runtime on the CPU; it has no parameters and cannot be trained."""

    def __init__(self, graph: onnx.ModelProto, spec: ModelSpec) -> None:
        super().__init__()
        self._run, self._spec = runtime(graph), spec

    def step(self, x: Any, lengths: Tensor, state: State) -> tuple[Any, State]:
        """As the model's own."""
        inputs = {i.name: part.numpy() for i, part in zip(self._spec.inputs, several(x), strict=True)}
        states = {s.input: state[s.name].contiguous().numpy() for s in self._spec.states}
        got = {
            name: torch.from_numpy(values)
            for name, values in self._run(inputs | {LENGTHS: lengths.numpy()} | states).items()
        }
        return bare(tuple(got[o.name] for o in self._spec.outputs)), {s.name: got[s.output] for s in self._spec.states}

    def describe(self, name: str) -> ModelSpec:
        return self._spec.model_copy(update={"name": name})
