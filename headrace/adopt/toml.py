"""How a draft writes what stands in a graph, whatever characters it is made of: as TOML 1.0 has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from headrace.foreign import Axes
from headrace.spec import LENGTHS

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Stands in no line of TOML as it is, be it in a comment."""


def line(text: str) -> str:
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def quoted(text: str) -> str:
    """JSON's strings are strings of TOML, but for surrogate pairs, which stand in neither if nothing is escaped."""
    return json.dumps(text, ensure_ascii=False)


def array(axes: Axes) -> str:
    return f"[{', '.join(quoted(axis) if isinstance(axis, str) else str(axis) for axis in axes)}]"


def plain_names(tensors: Iterable[str]) -> dict[str, str]:
    """tensor → a name that a spec takes, each another. A tensor whose name is one keeps it; the others are numbered."""
    each = list(dict.fromkeys(tensors))
    names = {tensor: tensor for tensor in each if _plain(tensor) == tensor}
    taken = set(names)
    for tensor in (tensor for tensor in each if tensor not in names):
        names[tensor] = _numbered(_plain(tensor), taken)
        taken.add(names[tensor])
    return names


def _numbered(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _plain(tensor: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.\-]+", "_", tensor).lstrip("_.-")[:120] or "x"
    return name if name != LENGTHS else f"their_{LENGTHS}"
