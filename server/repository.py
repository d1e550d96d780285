"""The models folder: <name>/<version>/model.onnx → models with running lanes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from headrace.contract import read_model
from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec

from .device import Device, choose
from .engine import OnnxEngine
from .gate import Gate
from .journal import Journal
from .lane import Lane
from .metrics import Metrics
from .models import Model, Models
from .settings import Settings
from .steps import Answers

log = logging.getLogger(__name__)

#: Runs a function with its argument on the event loop, from any thread.
Post = Callable[[Callable[[Answers], None], Answers], None]


def find_files(folder: Path) -> list[Path]:
    """All model files, in order. Raises ConfigurationError if there is nothing to serve."""
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}; export a model into it with `headrace export`")
    # A version that begins with a dot is one that is still being written: its name comes with the rename.
    files = sorted(file for file in folder.glob("*/*/model.onnx") if not file.parent.name.startswith("."))
    if not files:
        raise ConfigurationError(f"{folder} holds no <name>/<version>/model.onnx; export one with `headrace export`")
    return files


def load(settings: Settings, journal: Journal, metrics: Metrics, post: Post, clock: Callable[[], float]) -> Models:
    """Loads every model of the folder and starts its lanes.

    Raises ConfigurationError if there is none, one is corrupt, or its place does not fit its spec.
    """
    device = choose(settings.device)
    return Models(
        [_load(file, settings, device, journal, metrics, post, clock) for file in find_files(settings.models)],
        metrics.refused,
    )


def _load(
    file: Path,
    settings: Settings,
    device: Device,
    journal: Journal,
    metrics: Metrics,
    post: Post,
    clock: Callable[[], float],
) -> Model:
    graph, spec = read_model(file)
    name, version = file.parent.parent.name, file.parent.name
    if spec.name != name:
        raise ConfigurationError(f"{file} is model {spec.name!r} by its spec; move it to {spec.name}/{version}/")
    model = Model(spec, version, device, Gate(settings.queued_rows, f"for model {name}"))
    limits = settings.limits()
    engines = [OnnxEngine(graph, spec, limits.slots, device) for _ in range(settings.lanes)]
    model.lanes = tuple(
        Lane(
            spec,
            version,
            engine,
            journal,
            metrics.lane(spec, version, number),
            limits,
            lambda a: post(model.deliver, a),
            clock,
        )
        for number, engine in enumerate(engines)
    )
    for lane in model.lanes:
        lane.start()
    log.info("%s/%s: %s", name, version, describe(spec, engines[0], settings))
    return model


def describe(spec: ModelSpec, engine: OnnxEngine, settings: Settings) -> str:
    """One line for the log: the kind of model, and where its nodes run."""
    kind = f"states {', '.join(s.name for s in spec.states)}" if spec.stateful else "stateless"
    return f"{kind}; lanes: {settings.lanes}; nodes on {engine.placement()}"
