"""Whether the longest step that is promised can be taken: tables of positions, for one, end somewhere."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import onnx

from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec
from headrace.training.models import SequenceModel
from headrace.training.threads import torch_threads

from ..compare import difference
from ..parity import APART
from ..runners import eager, runtime
from ..streams import Batch, Draw, Runner, alone, drive


def refuse_longest(model: SequenceModel, graph: onnx.ModelProto, spec: ModelSpec, draw: Draw) -> None:
    """Runs module and graph once on one sequence of as many time steps as a step may carry.

    Raises ConfigurationError with the number of time steps up to which the module works, if it is less, or if they
    differ by more than APART: errors grow with the steps.
    """
    truth, longest = eager(model, spec), spec.chunk.longest

    def failure(time: int) -> ConfigurationError | None:
        try:
            drive(truth, spec, _batch(spec, time, draw), alone)
        except ConfigurationError as error:
            return error
        return None

    with torch_threads(1):
        if (error := failure(longest)) is not None:
            most = bisect_left(range(1, longest), True, key=lambda time: failure(time) is not None)
            raise ConfigurationError(
                f"{spec.name} works for {most} time steps, not for the {longest} that one step may carry: give "
                f"longest={most} ({error})"
            ) from error
        _refuse_difference(truth, runtime(graph), spec, _batch(spec, longest, draw))


def _refuse_difference(truth: Runner, run: Runner, spec: ModelSpec, batch: Batch) -> None:
    want, got = (drive(either, spec, batch, alone) for either in (truth, run))
    found = difference(got, want, spec, batch, "as long as a step may be")
    if found.error > APART:
        raise ConfigurationError(
            f"{spec.name}: the graph is right for short sequences, but differs by {found.error:.1e} in {found.where}; "
            "give a smaller `longest`"
        )


def _batch(spec: ModelSpec, time: int, draw: Draw) -> Batch:
    """One row."""
    rng = np.random.default_rng(0)
    return Batch({i.name: draw(i, time, rng) for i in spec.inputs}, np.array([time]))
