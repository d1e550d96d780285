"""The user's example: names of the inputs, and how the module is called with them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.spec import LENGTHS

Example = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""Tensors [rows, time, ...]: the module's first arguments, or by the names of its arguments."""

VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

DTYPES = (torch.float32, torch.int64)


@dataclass(frozen=True, slots=True)
class Call:
    """How a module is called.

    names:      of its inputs, those of `forward`'s parameters
    positional: whether they are given without their names
    lengths:    whether it has a parameter `lengths` that takes the rows' lengths, int64 [rows]
    time_first: whether its tensors are [time, rows, ...]
    """

    names: tuple[str, ...]
    positional: bool
    lengths: bool
    time_first: bool

    def __call__(self, module: nn.Module, inputs: Sequence[Tensor], lengths: Tensor) -> list[tuple[str, Any]]:
        """inputs [rows, time, ...], lengths [rows] → all that the module returns, each under a name."""
        tensors = [x.transpose(0, 1) for x in inputs] if self.time_first else list(inputs)
        named = {LENGTHS: lengths} if self.lengths else {}
        if self.positional:
            return list(_leaves("", module(*tensors, **named)))
        return list(_leaves("", module(**dict(zip(self.names, tensors, strict=True)), **named)))


def read(module: nn.Module, example: Example, time_first: bool) -> tuple[Call, tuple[Tensor, ...]]:
    """How `module` is called, and the example's tensors [rows, time, ...] in the order of the names.

    Raises ConfigurationError if the example does not fit `forward`, or has tensors of other kinds.
    """
    parameters = inspect.signature(module.forward).parameters
    takes = LENGTHS in parameters and not (isinstance(example, Mapping) and LENGTHS in example)
    named = _named(module, example)
    if not named:
        raise ConfigurationError("the example holds no tensors; it needs those that forward takes, [rows, time, ...]")
    positional = not set(named) <= set(parameters)
    if positional and isinstance(example, Mapping):
        raise ConfigurationError(
            f"the example names {', '.join(set(named) - set(parameters))}, forward takes {', '.join(parameters)}"
        )
    missing = [n for n, p in parameters.items() if p.default is p.empty and p.kind not in VARIABLE and n not in named]
    if not positional and (missing := [n for n in missing if n != LENGTHS]):
        raise ConfigurationError(
            f"forward also needs {', '.join(missing)}: put it into the example, or, if it is a state, give it None as "
            "its default and let the layer begin from zeros"
        )
    call = Call(tuple(named), positional, takes, time_first)
    tensors = tuple(x.transpose(0, 1) if time_first else x for x in named.values())
    _refuse(named, tensors)
    return call, tensors


def _named(module: nn.Module, example: Example) -> dict[str, Tensor]:
    if isinstance(example, Mapping):
        named = dict(example)
        named.pop(LENGTHS, None)
        return named
    tensors = (example,) if isinstance(example, Tensor) else tuple(example)
    signature = inspect.signature(module.forward)
    names = [n for n, p in signature.parameters.items() if p.kind is not p.VAR_POSITIONAL and n != LENGTHS]
    if len(names) >= len(tensors):
        return dict(zip(names, tensors, strict=False))
    return {f"x{k}": x for k, x in enumerate(tensors)} if len(tensors) > 1 else {"x": tensors[0]}


def _refuse(named: Mapping[str, Tensor], tensors: Sequence[Tensor]) -> None:
    wrong = [name for name, x in named.items() if not isinstance(x, Tensor) or x.dim() < 2 or x.dtype not in DTYPES]
    if wrong:
        raise ConfigurationError(
            f"the example needs tensors [rows, time, ...] of float32 or int64; {', '.join(wrong)} cannot be used"
        )
    if len({x.shape[:2] for x in tensors}) != 1:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in named.items())
        raise ConfigurationError(f"the example's tensors differ in rows or time: {shapes}")


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The tensors in what a module returns, with their names: of dictionaries the keys, of tuples the places."""
    if isinstance(value, Tensor):
        yield name or "y", value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}".lstrip("."), part)
    elif isinstance(value, tuple) and type(value) is not tuple:
        yield from _leaves(name, dict(zip(type(value)._fields, value, strict=True)))  # type: ignore[attr-defined]
    elif isinstance(value, tuple | list):
        for k, part in enumerate(value):
            yield from _leaves(f"{name}.{k}" if name else f"y{k}", part)
    elif value is not None:
        raise ConfigurationError(f"the module returns a {type(value).__name__}; it must return tensors")
