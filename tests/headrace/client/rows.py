"""Columns of a frame ↔ a row each, as a scripted server has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec


@dataclass(slots=True)
class Row:
    key: int
    position: int
    length: int
    acked: int
    timeout_us: int
    values: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...] = ()


def read(steps: pb.Steps, spec: ModelSpec) -> list[Row]:
    lengths = np.frombuffer(steps.lengths, "<i8")
    split = np.cumsum(lengths)[:-1]
    packed = [np.frombuffer(v, i.dtype).reshape(-1, *i.shape) for i, v in zip(spec.inputs, steps.values, strict=True)]
    columns = [
        np.frombuffer(steps.keys, "<u4").tolist(),
        np.frombuffer(steps.positions, "<i8").tolist(),
        lengths.tolist(),
        np.frombuffer(steps.acked, "<i8").tolist(),
        np.frombuffer(steps.timeouts_us, "<u8").tolist(),
        zip(*(np.split(p, split) for p in packed), strict=True),
    ]
    return [Row(*cells) for cells in zip(*columns, strict=True)]


def stepped(rows: list[Row], spec: ModelSpec) -> pb.Stepped:
    outputs = []
    for at, output in enumerate(spec.outputs):
        cells = [row.outputs[at] for row in rows]
        outputs.append((np.concatenate(cells) if output.time else np.stack(cells)).astype(output.dtype).tobytes())
    return pb.Stepped(
        keys=np.array([r.key for r in rows], "<u4").tobytes(),
        positions=np.array([r.position for r in rows], "<i8").tobytes(),
        lengths=np.array([r.length for r in rows], "<i8").tobytes(),
        values=outputs,
    )
