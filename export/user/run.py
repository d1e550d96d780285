"""A user's module by the names of what makes it: for the command line."""

from __future__ import annotations

import inspect
import runpy
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from headrace.errors import ConfigurationError
from headrace.spec import Score
from headrace.training.models import SequenceModel

from ..lighter import Lighten, lighter
from ..precision import Precision
from ..translate import OPSET
from .module import export_module
from .unwrap import load, unwrapped


def export_user_module(
    target: str,
    checkpoint: Path | None,
    example: Path,
    models: Path,
    name: str,
    version: str | None = None,
    *,
    precision: Precision = "fp32",
    max_drop: float = 0.01,
    opset: int = OPSET,
    console: Console,
) -> Path:
    """A module and its weights → the path of `models/<name>/<version>/model.onnx`.

    target:     "my.package:build", a function or class that gives the module when it is called; found from here too
    checkpoint: its state dict, of which nothing but tensors and plain values is read; None leaves it as it is built
    example:    a Python file with EXAMPLE or `example()`, see `export_module`; OPTIONS there are its further arguments
    precision:  other than fp32, the model is published as `<name>-<precision>`, if its score is worse by at most
                `max_drop`; the example's file then has `score(model)`, where higher is better; the model
                takes and gives packed tokens, see `SequenceModel.step`
    """
    module = unwrapped(built(target))
    if checkpoint is not None:
        load(module, checkpoint)
    values = _run(example)
    options = values.get("OPTIONS", {})
    lighten = None if precision == "fp32" else _lighten(values, example, precision, max_drop)
    kept: dict[str, Any] = {"version": version, "lighten": lighten, "opset": opset, "console": console}
    _refuse_unknown(options, kept, example)
    return export_module(module, _example(values, example), models, name, **kept, **options)


def _refuse_unknown(options: Any, kept: Collection[str], file: Path) -> None:
    """Raises ConfigurationError for OPTIONS that are none, or are given on the command line."""
    arguments = inspect.signature(export_module).parameters.values()
    known = sorted(p.name for p in arguments if p.kind is p.KEYWORD_ONLY and p.name not in kept)
    if not isinstance(options, Mapping) or (unknown := [str(key) for key in options if key not in known]):
        wrong = ", ".join(unknown) if isinstance(options, Mapping) else repr(options)
        raise ConfigurationError(f"{file}: OPTIONS has {wrong}; it is a dictionary of {', '.join(known)}")


def _lighten(values: dict[str, Any], file: Path, precision: Precision, most: float) -> Lighten:
    """Raises ConfigurationError if the file says nothing of how good a model is."""
    score = values.get("score")
    if not callable(score):
        raise ConfigurationError(
            f"{file} has no function score(model), and without one nobody knows what {precision} costs; add it"
        )

    def judge(model: SequenceModel) -> Score:
        return Score(metric="score", value=float(score(model)), better="higher", data=file.name)

    return partial(lighter, precision=precision, judge=judge, most=most)


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
