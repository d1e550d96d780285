"""Replies of a call for texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.protos import sequences_pb2 as pb


@dataclass(frozen=True, slots=True)
class Cell:
    """What is said of one text."""

    prompt: int = 0
    copy: int = 0
    text: str = ""
    tokens: Sequence[int] = ()
    ending: pb.Ending = pb.NOT_ENDED
    error: pb.Error | None = None


def reply(*cells: Cell) -> pb.GenerateReply:
    ended = [(number, cell) for number, cell in enumerate(cells) if cell.error is not None or cell.ending]
    return pb.GenerateReply(
        prompts=np.array([cell.prompt for cell in cells], "<u4").tobytes(),
        copies=np.array([cell.copy for cell in cells], "<u4").tobytes(),
        lengths=np.array([len(cell.tokens) for cell in cells], "<i8").tobytes(),
        tokens=np.array([token for cell in cells for token in cell.tokens], "<i8").tobytes(),
        texts=[cell.text for cell in cells],
        ends=[pb.GenerateReply.End(cell=number, ending=cell.ending, error=cell.error) for number, cell in ended],
    )
