"""The way from a model to a published file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from headrace import training
from headrace.spec import ModelSpec
from headrace.training.models import SequenceModel

from .parity import FULL, LIGHT, Report, strain, verify
from .publish import publish
from .runners import versions
from .trace import to_onnx


def export_checkpoint(checkpoint: Path, models: Path, *, version: str | None = None, console: Console) -> Path:
    """A training checkpoint → the path of `models/<name>/<version>/model.onnx`; by default the next whole number.

    Raises ConfigurationError, and publishes nothing, if the checkpoint cannot be read, the graph differs from the
    model, or the folder cannot be written.
    """
    model, spec = training.load(checkpoint)
    return export_model(model, spec, models, version=version, console=console)


def export_model(
    model: SequenceModel,
    spec: ModelSpec,
    models: Path,
    *,
    version: str | None = None,
    quick: bool = False,
    console: Console,
) -> Path:
    """Any model and its spec → the same; `spec` gets the parity figures and the packages' versions.

    quick: a small parity grid, and none with enlarged weights; for throw-away models.
    """
    graph = to_onnx(model, spec)
    report = verify(model, graph, spec, grid=LIGHT if quick else FULL, console=console)
    if not quick:
        strain(model, spec, console=console)
    full = spec.model_copy(update={"parity": report.parity, "versions": versions()})
    path = publish(graph, full, models, version)
    console.print(f"{path}: {len(graph.graph.node)} nodes, {_summary(report)}")
    return path


def _summary(report: Report) -> str:
    controls = ", ".join(f"{name} {error:.2f}" for name, error in report.controls.items())
    return f"parity {report.parity.error:.1e} in {report.parity.cases} cases (wrong on purpose: {controls})"
