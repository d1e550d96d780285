"""Where a model's nodes run: told in one line, and asserted of those that do the work."""

from __future__ import annotations

from collections.abc import Mapping

from .device import Device

HEAVY = ("LSTM", "GRU", "RNN", "MatMul", "Gemm", "Attention", "Conv")
"""Parts of the names of the operators that do the work."""

Nodes = Mapping[tuple[str, str], int]
"""(device, operator) → how many."""


def described(nodes: Nodes) -> str:
    """Such as "CPU: 2 LSTM, 5 Gather"."""
    places = sorted({place for place, _ in nodes})
    return "; ".join(f"{p}: " + ", ".join(f"{n} {op}" for (q, op), n in nodes.items() if q == p) for p in places)


def strays(nodes: Nodes, device: Device) -> list[str]:
    """The operators that do the work, and do it elsewhere: each call would carry their inputs there and back."""
    return sorted({op for place, op in nodes if place != device and any(part in op for part in HEAVY)})
