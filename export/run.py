"""The way from a model to a published file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console

from headrace import training
from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec
from headrace.training.models import SequenceModel

from .kept import plainly
from .lighter import Lighten, lighter
from .parity import FULL, LIGHT, Report, strain, verify
from .precision import RECURRENT, Precision
from .publish import publish
from .report import pages
from .runners import versions
from .start import start_files
from .trace import to_onnx
from .translate import LAST_RECURRENT, OPSET

MAX_DROP = 0.01
"""How much worse the score of a smaller file may be, in the score's own unit."""


def export_checkpoint(
    checkpoint: Path,
    models: Path,
    *,
    version: str | None = None,
    precision: Precision = "fp32",
    max_drop: float = MAX_DROP,
    opset: int = OPSET,
    console: Console,
) -> Path:
    """A training checkpoint → the path of `models/<name>/<version>/model.onnx`; by default the next whole number.

    precision: other than fp32, the model is published as `<name>-<precision>`, if its score on the task's real test set
    is worse than that of the float32 graph by at most `max_drop`.
    Raises ConfigurationError, and publishes nothing, if the checkpoint cannot be read, the graph differs from the
    model, its score drops too far, or the folder cannot be written.
    """
    model, spec = training.load(checkpoint)
    judge = partial(training.score, spec.name)
    lighten = None if precision == "fp32" else partial(lighter, precision=precision, judge=judge, most=max_drop)
    return export_model(model, spec, models, version=version, lighten=lighten, opset=opset, console=console)


def export_model(
    model: SequenceModel,
    spec: ModelSpec,
    models: Path,
    *,
    version: str | None = None,
    quick: bool = False,
    lighten: Lighten | None = None,
    opset: int = OPSET,
    console: Console,
) -> Path:
    """Any model and its spec → the same; `spec` gets the parity figures and the packages' versions.

    quick:   a small parity grid, and none with enlarged weights; for throw-away models
    lighten: makes the graph smaller, once it is verified
    """
    if spec.caches and lighten is not None:
        raise ConfigurationError(f"{spec.name} has caches; only its float32 graph can be exported")
    graph = to_onnx(model, spec, opset)
    report = verify(model, graph, spec, grid=LIGHT if quick else FULL, console=console)
    if not quick:
        strain(model, spec, opset=opset, console=console)
    full, small, coarse = spec.model_copy(update={"parity": report.parity, "versions": versions()}), None, None
    if lighten is not None:
        small = lighten(graph, full)
        coarse = small.verified(model, spec, console=console)
        graph, full = small.graph, small.spec(full, coarse.parity)
    beside = pages(*plainly(graph, full), report, small, coarse) | start_files(
        model, graph, full, quick=quick, console=console
    )
    path = publish(graph, full, models, version, beside)
    console.print(f"{path}: {len(graph.graph.node)} nodes, {_summary(report)}")
    if small is not None:
        console.print(f"{path}: {small}")
    if opset > LAST_RECURRENT and any(node.op_type in RECURRENT for node in graph.graph.node):
        console.print(f"{path}: at opset {opset} its recurrent layers will run on the CPU, also where there is a GPU")
    return path


def _summary(report: Report) -> str:
    controls = ", ".join(f"{name} {error:.2f}" for name, error in report.controls.items())
    return f"parity {report.parity.error:.1e} in {report.parity.cases} cases (wrong on purpose: {controls})"
