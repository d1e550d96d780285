"""Parts of a module that cannot be exported whatever they do."""

from __future__ import annotations

import torch
from torch import nn

from headrace.errors import ConfigurationError

from . import watch


def refuse(module: nn.Module) -> None:
    """Raises ConfigurationError for parts that cannot be exported whatever they do."""
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ConfigurationError(f"{at(path)} is scripted: export the module that was given to torch.jit")
        stock = (*watch.LAYERS, nn.MultiheadAttention)
        if isinstance(part, stock) and type(part).forward not in {kind.forward for kind in stock}:
            raise ConfigurationError(
                f"{at(path)}: {type(part).__name__} has a forward of its own; only the stock layers become ragged"
            )
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise ConfigurationError(f"{name} is {parameter.dtype}: call .float() on the module first")


def at(path: str) -> str:
    """A part by its path, for people."""
    return path or "the module"
