"""Triton's own server, with its sequence batcher over a Python backend that runs ONNX Runtime.

The server is the one inside the wheel nvidia-pytriton, which carries no ONNX Runtime backend; implicit state does not
work with its Python backend, so the model keeps states by sequence id (`kept.py`).
"""

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
from .wire import StockClient, Streamed, by_parameters, clients

HERE = Path(__file__).parent

#: NumPy of before 2.0: with later ones this Triton's outputs come back empty.
REQUIREMENTS = ("nvidia-pytriton==0.7.0", "onnxruntime==1.31.1", "numpy==1.26.4")

CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {batch}
input [ {{ name: "values" data_type: TYPE_FP32 dims: [ {features} ] }} ]
output [ {{ name: "log_probabilities" data_type: TYPE_FP32 dims: [ {outputs} ] }} ]
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
sequence_batching {{
  max_sequence_idle_microseconds: 60000000
  oldest {{ max_candidate_sequences: 512 max_queue_delay_microseconds: {delay} }}
}}
"""

STREAMED = partial(Streamed, wrapped=True)


def _setting(batch: int, instances: int = 1, delay: int = 0) -> Setting:
    """delay: microseconds that a batch may wait to be filled."""
    options = {"batch": str(batch), "instances": str(instances), "delay": str(delay)}
    return Setting(f"batches of {batch}, {instances} instances, delay {delay} µs", options)


def environment(folder: Path) -> Environment:
    """PyTriton's too: both come in one wheel."""
    return Environment(folder / "environment", REQUIREMENTS)


class Triton:
    """folder: for its environment and what it is started from."""

    name = "Triton"
    settings = (_setting(8), _setting(16), _setting(32), _setting(16, instances=2), _setting(16, delay=500))

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = environment(folder)

    def make(self) -> str:
        made = self._environment.make()
        if not self._root.exists():
            self._lay_root()
        return f"Triton 2.51 of {made}"

    @contextmanager
    def serve(self, model: Path, spec: ModelSpec, setting: Setting) -> Iterator[Running]:
        self._lay(model, spec, setting)
        ports = Ports.free()
        command = [
            *("root/bin/tritonserver", "--model-repository=repository", "--disable-auto-complete-config"),
            *("--backend-directory=root/backends", "--cache-directory=root/caches"),
            *("--allow-metrics=false", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"),
            *(f"--http-port={ports.http}", f"--grpc-port={ports.grpc}"),
        ]
        with child(command, ports, spec.name, folder=self._folder, environment=self._variables()) as running:
            yield running

    def clients(
        self, address: str, spec: ModelSpec, count: int, setting: Setting
    ) -> AbstractAsyncContextManager[list[StockClient]]:
        return clients(address, spec, count, STREAMED, by_parameters)

    @property
    def _root(self) -> Path:
        return self._folder / "root"

    def _lay_root(self) -> None:
        """Its own files, together as it wants them."""
        wheel = self._environment.packages / "pytriton" / "tritonserver"
        stub = wheel / "python_backend_stubs" / sysconfig.get_python_version() / "triton_python_backend_stub"
        for part in ("bin", "backends", "caches"):
            shutil.copytree(wheel / part, self._root / part)
        shutil.copy(stub, self._root / "backends" / "python")

    def _lay(self, model: Path, spec: ModelSpec, setting: Setting) -> None:
        """Its model repository."""
        version = self._folder / "repository" / spec.name / "1"
        version.mkdir(parents=True, exist_ok=True)
        shutil.copy(model, version / "model.onnx")
        shutil.copy(HERE / "triton_model.py", version / "model.py")
        shutil.copy(HERE / "kept.py", version)
        (version.parent / "config.pbtxt").write_text(config(spec, setting))

    def _variables(self) -> dict[str, str]:
        """Its stub looks for the interpreter's own library, and for NumPy and ONNX Runtime."""
        packages = self._environment.packages
        libraries = [str(packages / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
        path = [str(self._environment.python.parent), os.environ["PATH"]]
        return os.environ | {
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PYTHONPATH": str(packages),
            "PATH": os.pathsep.join(path),
        }


def config(spec: ModelSpec, setting: Setting) -> str:
    """Of one input and one output, as the reference model has them."""
    features, outputs = spec.inputs[0].shape[0], spec.outputs[0].shape[0]
    return CONFIG.format(name=spec.name, features=features, outputs=outputs, **setting.options)
