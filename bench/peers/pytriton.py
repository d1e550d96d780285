"""PyTriton: the same server as Triton's, over a function in the program that starts it."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path

from headrace.spec import ModelSpec

from ..server import Running
from .child import Ports, child
from .environment import Environment
from .peer import Setting
from .wire import StockClient, Streamed, by_tensors, clients

HERE = Path(__file__).parent
STREAMED = partial(Streamed, wrapped=True)


def _setting(rows: int, delay: int) -> Setting:
    """delay: microseconds that a batch may wait to be filled."""
    return Setting(f"batches of {rows}, delay {delay} µs", {"rows": str(rows), "delay": str(delay)})


class PyTriton:
    """folder: what it is started from; environment: Triton's, as it comes in one wheel with it."""

    name = "PyTriton"
    settings = (_setting(16, 0), _setting(64, 0), _setting(64, 1000))

    def __init__(self, folder: Path, environment: Environment) -> None:
        self._folder, self._environment = folder, environment

    def make(self) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._environment.make()

    @contextmanager
    def serve(self, model: Path, spec: ModelSpec, setting: Setting) -> Iterator[Running]:
        for source in ("pytriton_model.py", "kept.py"):
            shutil.copy(HERE / source, self._folder)
        ports = Ports.free()
        sizes = [spec.inputs[0].shape[0], spec.outputs[0].shape[0]]
        numbers = [*sizes, *setting.options.values(), ports.grpc, ports.http]
        shutil.rmtree(self._folder / "workspace", ignore_errors=True)  # it takes none that is there
        variables = os.environ | {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR")}  # of the stub's interpreter
        command = [self._environment.python, "pytriton_model.py", spec.name, model.resolve(), *numbers]
        with child(list(map(str, command)), ports, spec.name, folder=self._folder, environment=variables) as running:
            yield running

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[list[StockClient]]:
        return clients(address, spec, count, STREAMED, by_tensors)
