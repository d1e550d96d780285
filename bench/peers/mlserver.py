"""MLServer, with its adaptive batcher over unary calls, or its streams, which it does not batch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path

from headrace.spec import ModelSpec

from ..server import Running
from .child import Ports, child
from .environment import Environment
from .peer import Setting
from .wire import StockClient, Streamed, Unary, by_tensors, clients

HERE = Path(__file__).parent
REQUIREMENTS = ("mlserver==1.7.1", "onnxruntime==1.31.1")


def _batched(rows: int, seconds: float) -> Setting:
    """seconds: how long a batch waits to be filled."""
    return Setting(f"unary, batches of {rows}, {1e3 * seconds:g} ms", {"rows": str(rows), "seconds": str(seconds)})


class MLServer:
    """folder: for its environment and what it is started from."""

    name = "MLServer"
    settings = (
        Setting("streams, no batches"),
        Setting("unary, no batches", {"rows": "1"}),
        _batched(8, 0.001),
        _batched(32, 0.001),
        _batched(32, 0.005),
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = Environment(folder / "environment", REQUIREMENTS)

    def make(self) -> str:
        return self._environment.make()

    @contextmanager
    def serve(self, model: Path, spec: ModelSpec, setting: Setting) -> Iterator[Running]:
        ports = Ports.free()
        self._lay(model, spec, setting, ports)
        command = [str(self._environment.python.parent / "mlserver"), "start", "."]
        environment = os.environ | {"PYTHONPATH": str(self._folder.resolve())}
        with child(command, ports, spec.name, folder=self._folder, environment=environment) as running:
            yield running

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[list[StockClient]]:
        talk = Unary if "rows" in setting.options else partial(Streamed, wrapped=False)
        return clients(address, spec, count, talk, by_tensors)

    def _lay(self, model: Path, spec: ModelSpec, setting: Setting, ports: Ports) -> None:
        """One process, no log of requests and no metrics: the least that it can do for a request."""
        server = {
            **{"host": "127.0.0.1", "grpc_port": ports.grpc, "http_port": ports.http},
            **{"parallel_workers": 0, "debug": False, "metrics_endpoint": None},
        }
        served = {
            "name": spec.name,
            "implementation": "mlserver_model.KeptModel",
            "max_batch_size": int(setting.options.get("rows", 1)),
            "max_batch_time": float(setting.options.get("seconds", 0)),
            "parameters": {"uri": str(model.resolve())},
        }
        for source in ("mlserver_model.py", "kept.py"):
            shutil.copy(HERE / source, self._folder)
        (self._folder / "settings.json").write_text(json.dumps(server))
        (self._folder / "model-settings.json").write_text(json.dumps(served))
