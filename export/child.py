"""Graphs are first loaded in a process of their own: what ONNX Runtime cannot load may end the process that tries."""

from __future__ import annotations

import subprocess
import sys

import onnx

from headrace.errors import ConfigurationError

LOAD = (
    "import onnxruntime, sys; onnxruntime.InferenceSession(sys.stdin.buffer.read(), providers=['CPUExecutionProvider'])"
)

PATIENCE = 600.0
"""Seconds within which a graph must be loaded."""


def refuse_unloadable(graph: onnx.ModelProto, name: str, patience: float = PATIENCE) -> None:
    """Raises ConfigurationError with the last words of a process that cannot load `graph`, as a server would."""
    command = [sys.executable, "-c", LOAD]
    try:
        ended = subprocess.run(
            command, input=graph.SerializeToString(), capture_output=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{name} is not loaded by ONNX Runtime within {patience:.0f} s") from error
    if ended.returncode:
        words = ended.stderr.decode(errors="replace").strip().splitlines()
        reason = words[-1] if words else f"the process ended with {ended.returncode}"
        raise ConfigurationError(f"{name} cannot be loaded by ONNX Runtime ({reason}); nothing is published")
