"""A user's module by the names of what makes it: for the command line."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from headrace.errors import ConfigurationError

from .user_module import export_module
from .user_unwrap import load, unwrapped


def export_user_module(
    target: str,
    checkpoint: Path | None,
    example: Path,
    models: Path,
    name: str,
    version: str | None = None,
    *,
    console: Console,
) -> Path:
    """A module and its weights → the path of `models/<name>/<version>/model.onnx`.

    target:     "my.package:build", a function or class that gives the module when it is called; found from here too
    checkpoint: its state dict, of which nothing but tensors and plain values is read; None leaves it as it is built
    example:    a Python file with EXAMPLE or `example()`, see `export_module`; OPTIONS there are its further arguments
    """
    module = unwrapped(built(target))
    if checkpoint is not None:
        load(module, checkpoint)
    values = _run(example)
    options = values.get("OPTIONS", {})
    return export_module(module, _example(values, example), models, name, version=version, console=console, **options)


def built(target: str) -> nn.Module:
    """What "my.package:build" gives. Raises ConfigurationError, with the reason, if that is no module."""
    package, _, attribute = target.partition(":")
    try:
        with _found_here():
            build: Callable[[], Any] = vars(import_module(package))[attribute]
            module = build if isinstance(build, nn.Module) else build()
    except Exception as error:
        raise ConfigurationError(f"{target} gives no module ({type(error).__name__}: {error})") from error
    if not isinstance(module, nn.Module):
        raise ConfigurationError(f"{target} gives a {type(module).__name__}, not an nn.Module")
    return module


@contextmanager
def _found_here() -> Iterator[None]:
    """While open, packages are found in the current folder too, as `python -m` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _run(file: Path) -> dict[str, Any]:
    try:
        return runpy.run_path(str(file))
    except Exception as error:
        raise ConfigurationError(f"{file} cannot be run ({type(error).__name__}: {error})") from error


def _example(values: dict[str, Any], file: Path) -> Any:
    if "EXAMPLE" in values:
        return values["EXAMPLE"]
    if "example" not in values:
        raise ConfigurationError(f"{file} defines neither EXAMPLE nor example()")
    return values["example"]()
