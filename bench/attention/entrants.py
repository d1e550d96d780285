"""Who takes part: how each is had, and how its worker is started."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Protocol

import numpy as np

from ..decoder import NAME, decoder, reference_decoder
from ..peers.environment import Environment
from ..peers.peer import Obtainable
from ..server import serving
from ..site import Site
from . import genai_model
from .process import Worker, working
from .workload import LOADS

OURS, NEAR_US = "Headrace", "Headrace, client on the same core"

TRANSFORMERS, TORCH, GENAI, RUNTIME = "5.23.0", "2.13.0", "0.18.0", "1.31.1"
#: All else is as it comes.
ONE_LANE = ("--lanes", "1")

WORKERS = Path(__file__).parent / "workers"


@dataclass(frozen=True, slots=True)
class Made:
    """The same weights in all forms: model, the exported file; weights, arrays by name; genai, a folder."""

    model: Path
    weights: Path
    genai: Path

    @classmethod
    def below(cls, folder: Path) -> Made:
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(reference_decoder(folder / "models"), folder / "weights.npz", folder / "genai")
        weights = {name: values.numpy() for name, values in decoder().state_dict().items()}
        np.savez(made.weights, **weights)
        genai_model.write(weights, made.genai)
        return made


class Entrant(Obtainable, Protocol):
    """What generates."""

    def start(self, made: Made, log: Path) -> AbstractContextManager[Worker]:
        """Its worker, while the block runs, on the cores of the caller unless it says otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class Foreign:
    """A library in an environment of its own. given: which of the forms it takes; mode: what else it is told."""

    name: str
    environment: Environment
    script: str
    given: str
    mode: tuple[str, ...]

    def make(self) -> str:
        return self.environment.make()

    def start(self, made: Made, log: Path) -> AbstractContextManager[Worker]:
        given = {"weights": made.weights, "genai": made.genai}[self.given]
        return working([str(self.environment.python), str(WORKERS / self.script), str(given), *self.mode], log)


@dataclass(frozen=True, slots=True)
class Own:
    """A loop in the project's environment. module: of `workers`; library: what computes."""

    name: str
    module: str
    library: str

    def make(self) -> str:
        return f"{self.library} {version(self.library)}"

    def start(self, made: Made, log: Path) -> AbstractContextManager[Worker]:
        return working(_own(self.module, str(made.model)), log)


@dataclass(frozen=True, slots=True)
class Served:
    """Headrace: the server on the caller's cores, its client on those given."""

    name: str
    client: frozenset[int]

    def make(self) -> str:
        return ", ".join(f"{package} {version(package)}" for package in ("headrace", "grpcio"))

    @contextmanager
    def start(self, made: Made, log: Path) -> Iterator[Worker]:
        said = log.with_name(f"{log.stem}-server.log")
        with serving(made.model.parents[2], ONE_LANE, log=said) as running:
            command = _own("served", running.address, NAME, *map(str, sorted(self.client)))
            with working(command, log, running.process.pid) as worker:
                yield worker


def _own(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"headrace.bench.attention.workers.{module}", *arguments]


def entrants(site: Site, folder: Path) -> Sequence[Entrant]:
    """All of them; folder: where environments are made."""
    hugging = Environment(folder / "transformers", (f"torch=={TORCH}", f"transformers=={TRANSFORMERS}"))
    genai = Environment(folder / "genai", (f"onnxruntime=={RUNTIME}", f"onnxruntime-genai=={GENAI}"))
    return [
        Foreign("transformers, growing cache", hugging, "hugging.py", "weights", ("dynamic",)),
        Foreign("transformers, static cache", hugging, "hugging.py", "weights", ("static",)),
        Foreign("transformers, continuous batching", hugging, "hugging.py", "weights", ("continuous",)),
        Foreign("ONNX Runtime GenAI, generator", genai, "genai.py", "genai", ("generator",)),
        Foreign("ONNX Runtime GenAI, engine", genai, "genai.py", "genai", ("engine", str(max(LOADS)))),
        Own("plain ONNX Runtime loop", "loop", packages_distributions()["onnxruntime"][0]),
        Own("PyTorch eager", "eager", "torch"),
        Served(OURS, frozenset(site.load_core)),
        Served(NEAR_US, frozenset(site.server_core)),
    ]
