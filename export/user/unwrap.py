"""What stands around a user's module, or is left of it in a checkpoint's names, taken away."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule

from headrace.errors import ConfigurationError

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before the names of parameters."""

NESTED = ("state_dict", "model_state_dict", "model")
"""Where in a checkpoint the weights usually stand, if they are not all of it."""


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, without DataParallel, DistributedDataParallel or torch.compile around it."""
    while isinstance(module, (*WRAPPERS, OptimizedModule)):
        inner = module.module if isinstance(module, WRAPPERS) else module._orig_mod
        assert isinstance(inner, nn.Module)
        module = inner
    return module


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """While open, the module is in evaluation mode; then each of its parts is in that which it was in."""
    kept = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in kept:
            part.training = training


@contextmanager
def parts_unwrapped(module: nn.Module) -> Iterator[None]:
    """While open, the same is true of the modules inside."""
    kept = [(m, name, child) for m in module.modules() for name, child in m.named_children()]
    for parent, name, child in kept:
        parent._modules[name] = unwrapped(child)
    try:
        yield
    finally:
        for parent, name, child in kept:
            parent._modules[name] = child


def load(module: nn.Module, checkpoint: Path) -> None:
    """Fills `module` with the weights in `checkpoint`: a state dict, or a dictionary that holds one.

    Nothing but tensors and plain values is read. Raises ConfigurationError if it is none, or its weights do not fit.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ConfigurationError(
            f"{checkpoint} cannot be read as weights ({_first_line(error)}); save `module.state_dict()`"
        ) from error
    try:
        module.load_state_dict(weights(content, checkpoint, module.state_dict().keys()))
    except RuntimeError as error:
        raise ConfigurationError(f"{checkpoint} does not fit the module: {' '.join(str(error).split())}") from error


def weights(content: Any, checkpoint: Path, own: Collection[str]) -> dict[str, Tensor]:
    """The state dict in what a checkpoint holds, without the prefixes that wrappers leave in its names.

    own: names of the module's own weights; one that is among them is kept, be it `self.module`'s.
    """
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigurationError(f"{checkpoint} holds no state dict; save `module.state_dict()`")
    return {_bare(name, own): value for name, value in content.items()}


def _bare(name: str, own: Collection[str]) -> str:
    """Wrappers can stand around one another at the top; torch.compile's also further inside."""
    while name not in own and name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name if name in own else name.replace("._orig_mod.", ".")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
