"""Where one packed layer follows another, what is padded between them only to be unpadded again stays packed."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram
from torch.fx import Node


def joined(program: ExportedProgram) -> int:
    """Takes out each `unpad` of what `pad` made, be it turned to time first and back; returns how many."""
    graph = program.graph_module.graph
    found = [(node, packed) for node in graph.nodes if (packed := _packed(node)) is not None]
    for node, packed in found:
        node.replace_all_uses_with(packed)
    graph.eliminate_dead_code()
    return len(found)


def _packed(node: Node) -> Node | None:
    """What `node` unpads, if it is padded by the same lengths."""
    if node.target is not torch.ops.headrace.unpad.default:
        return None
    origin, turned = node.args[0], False
    while isinstance(origin, Node) and (swaps := _swaps(origin)) is not None:
        origin, turned = origin.args[0], turned is not swaps
    if not isinstance(origin, Node) or origin.target is not torch.ops.headrace.pad.default:
        return None
    packed = origin.args[0]
    assert isinstance(packed, Node)
    # What pads an input stays: it is looked for when the padding is filled with noise.
    right = not turned and origin.args[1] is node.args[1] and packed.op != "placeholder"
    return packed if right else None


def _swaps(node: Node) -> bool | None:
    """Whether it exchanges the first two axes, rows and time; None of a node that does anything else."""
    if node.target is torch.ops.aten.transpose.int:
        return True if set(node.args[1:]) == {0, 1} else None
    if node.target is torch.ops.aten.movedim.intlist and list(node.args[2]) == [0, 1]:  # type: ignore[arg-type]
        return {(0, 1): False, (1, 0): True}.get(tuple(node.args[1]))  # type: ignore[arg-type]
    return None
