"""What an installation holds, and what its parts load."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: What measurements leave, environments of other servers among it.
RESULTS = ROOT / "bench/results"


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("headrace", {"grpc", "onnx", "onnxruntime", "torch", "typer"}),
        ("headrace.cli", {"grpc", "onnx", "onnxruntime", "torch", "prometheus_client"}),
        ("headrace.client", {"onnx", "onnxruntime", "torch", "prometheus_client", "typer"}),
        ("headrace.server.app", {"torch", "onnxscript", "typer", "headrace.client", "headrace.training"}),
    ],
)
def test_what_is_loaded_stays_without(module: str, without: set[str]) -> None:
    """Also by way of other packages, where the table of imports cannot look."""
    look = f"import sys, {module}; print(*sorted(sys.modules.keys() & {without}))"
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == "\n"


def test_every_package_is_installed() -> None:
    """One that pyproject.toml does not name would be missing from the wheel alone, and so unnoticed in a checkout."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name: ROOT / setup["package-dir"].get(name, name.replace(".", "/")) for name in setup["packages"]}
    tops = [folder for folder in folders.values() if folder.parent == ROOT]
    found = {init.parent for top in tops for init in top.rglob("__init__.py")}
    assert {folder for folder in found if not folder.is_relative_to(RESULTS)} == set(folders.values())
