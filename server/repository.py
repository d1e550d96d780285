"""The models folder: <name>/<version>/model.onnx → models with running lanes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from headrace.contract import carries_spec, read_graph, spec_in
from headrace.errors import ConfigurationError
from headrace.foreign import FOREIGN_FILE, Foreign
from headrace.spec import ModelSpec

from .alone import Alone
from .caches.engine import CachedEngine
from .calibration import Calibration, Key, bounds, find, user_cache
from .device import Device, choose
from .engine import OnnxEngine
from .foreign import canonical
from .foreign_size import check_sizes
from .gate import Gate
from .journal import Journal
from .lane import Lane
from .limits import Limits
from .machine import cores
from .metrics import Metrics
from .models import Model, Models
from .outlet import Deliver
from .rehearsal import rehearse, tolerance
from .settings import Settings

log = logging.getLogger(__name__)

AnyEngine = OnnxEngine | CachedEngine

#: Of what is to be done with a lane's answers on the event loop: how the lane hands them over, from any thread.
Outlets = Callable[[Deliver], Deliver]

#: The start graph of a model whose sequences begin with a source, beside its file.
START_FILE = "start.onnx"

#: Bytes, about, of a lane's tables for each sequence that may be live.
TABLES = 100


def find_files(folder: Path) -> list[Path]:
    """All model files, in order. Raises ConfigurationError if there is nothing to serve."""
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}; export a model into it with `headrace export`")
    # A version that begins with a dot is one that is still being written: its name comes with the rename.
    files = sorted(file for file in folder.glob("*/*/model.onnx") if not file.parent.name.startswith("."))
    if not files:
        raise ConfigurationError(f"{folder} holds no <name>/<version>/model.onnx; export one with `headrace export`")
    return files


def read(file: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    """A model of ours; or somebody else's, rewritten as the `model.toml` beside it says.

    Raises ConfigurationError if it is corrupt, or nothing says how to serve it, or two things do.
    """
    model, beside = read_graph(file), file.with_name(FOREIGN_FILE)
    if not beside.exists():
        return model, spec_in(model, file)
    if carries_spec(model):
        raise ConfigurationError(f"{file} carries a spec, so that {beside} has nothing to say; remove one of them")
    foreign = Foreign.read(beside)
    with naming(beside):
        return canonical(model, foreign, file.parent.parent.name)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Raises ConfigurationError naming the file, for sizes and numbers that the libraries refuse as well."""
    try:
        yield
    except MemoryError as error:
        raise ConfigurationError(f"{file}: it takes more memory than there is ({error})") from error
    except (ConfigurationError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{file}: {error}") from error


def load(
    settings: Settings, journal: Journal, metrics: Metrics, outlets: Outlets, clock: Callable[[], float]
) -> Models:
    """Loads every model of the folder and starts its lanes.

    Raises ConfigurationError if there is none, one is corrupt, or its place does not fit its spec.
    """
    loader = Loader(settings, choose(settings.device), journal, metrics, outlets, clock)
    with ThreadPoolExecutor(cores(), "load") as pool:  # most of it is the runtime's and protobuf's, off the interpreter
        models = list(pool.map(loader.model, find_files(settings.models)))
    for lane in (lane for model in models for lane in model.lanes):
        lane.start()  # once all are sound: a thread that nobody stops would keep its engine
    return Models(models, metrics.refused)


@dataclass(frozen=True, slots=True)
class Loader:
    """What the models of one server have in common."""

    settings: Settings
    device: Device
    journal: Journal
    metrics: Metrics
    outlets: Outlets
    clock: Callable[[], float]
    alone: Alone = field(default_factory=Alone)

    def model(self, file: Path) -> Model:
        """A model whose lanes are not started yet. Raises ConfigurationError for a file that cannot be served."""
        graph, spec = read(file)
        name, version = file.parent.parent.name, file.parent.name
        device = self._device(spec)
        if spec.name != name:
            raise ConfigurationError(f"{file} is model {spec.name!r} by its spec; move it to {spec.name}/{version}/")
        found = self._calibration(file)
        limits = bounds(self.settings, spec, device, found)
        lanes = self.settings.lanes or min(found.lanes, cores())
        model = Model(spec, version, device, Gate(self.settings.queued_rows, f"for model {name}"), self.alone)
        engines = self._engines_of(file, graph, spec, limits, lanes)
        model.lanes = tuple(self._lane(model, number, engine, limits) for number, engine in enumerate(engines))
        log.info("%s/%s: %s", name, version, describe(spec, engines, limits))
        return model

    def _engines_of(
        self, file: Path, graph: onnx.ModelProto, spec: ModelSpec, limits: Limits, lanes: int
    ) -> Sequence[AnyEngine]:
        beside = file.with_name(FOREIGN_FILE)
        if beside.exists():
            with naming(beside):
                return self._proven(graph, spec, limits, lanes)
        if spec.caches:
            start = read_graph(file.with_name(START_FILE)) if spec.start else None
            return [CachedEngine(graph, spec, limits.slots, "CPU", rows=limits.rows, start=start) for _ in range(lanes)]
        return self._engines(graph, spec, limits, lanes)

    def _calibration(self, file: Path) -> Calibration:
        """What was measured once, else what suits most models; nothing is measured now."""
        if not self.settings.measures:
            return Calibration()
        return find(self.settings.cache or user_cache(), Key.of(file, self.device)) or Calibration()

    def _device(self, spec: ModelSpec) -> Device:
        """Models with caches run on the CPU: the operator that keeps them in place takes float32 nowhere else."""
        if spec.caches and self.device != "CPU":
            log.warning("%s is served on the CPU, as all models with caches are so far", spec.name)
            return "CPU"
        return self.device

    def _engines(self, graph: onnx.ModelProto, spec: ModelSpec, limits: Limits, lanes: int) -> list[OnnxEngine]:
        return [OnnxEngine(graph, spec, limits.slots, self.device) for _ in range(lanes)]

    def _proven(self, graph: onnx.ModelProto, spec: ModelSpec, limits: Limits, lanes: int) -> list[OnnxEngine]:
        """Of a stranger's model. Raises ConfigurationError, or whatever the libraries do, for one that is not sound."""
        check_sizes(spec, self.settings.frame_bytes)
        engines = self._engines(graph, spec, limits, lanes)
        rehearse(engines[0], spec, min(limits.rows, limits.slots // 2), tolerance(graph))
        return engines

    def _lane(self, model: Model, number: int, engine: AnyEngine, limits: Limits) -> Lane:
        try:
            return self._lane_of(model, number, engine, limits)
        except MemoryError as error:
            raise ConfigurationError(
                f"the tables of {limits.sequences} sequences take about {limits.sequences * TABLES / 1e9:,.1f} GB, "
                "which cannot be had; choose fewer with --sequences"
            ) from error

    def _lane_of(self, model: Model, number: int, engine: AnyEngine, limits: Limits) -> Lane:
        return Lane(
            model.spec,
            model.version,
            engine,
            self.journal,
            self.metrics.lane(model.spec, model.version, number),
            limits,
            self.outlets(model.deliver),
            self.clock,
        )


def describe(spec: ModelSpec, engines: Sequence[AnyEngine], limits: Limits) -> str:
    """One line for the log: the kind of model, its lanes and batches, and where its nodes run."""
    kept = ", ".join([*(s.name for s in spec.states), *(c.name for c in spec.caches)])
    kind = f"states {kept}" if spec.stateful else "stateless"
    batch = f"batches of {limits.rows} rows and {limits.tokens} time steps"
    return f"{kind}; lanes: {len(engines)}, {batch}; nodes on {engines[0].placement()}"
