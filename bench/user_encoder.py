"""A user's own module around an `nn.TransformerEncoder`, exported as it is, against the same module as a padded graph.

Both on one thread, on the same batches in the order of their arrival, by CPU time. Padding the rows is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from headrace.export import export_module
from headrace.spec import LENGTHS

from .encoder import REFERENCE, Padded, Size, encoder, padded_graph
from .encoders import LONGEST, Runtime
from .figures import Figure
from .site import Site

#: Rows in a batch; the bound is of the first.
BATCHES = (8, 32)
LEAST = 1.6

#: Sequences of a round for a second of a turn.
SEQUENCES = 64


class Sides(NamedTuple):
    """Our export of the module, and what torch's exporter makes of it."""

    ours: Runtime
    padded: Runtime


class Cost(NamedTuple):
    """CPU seconds of a sequence."""

    ours: float
    padded: float


class ByLengths(nn.Module):
    """The module of the padded graph, with the rows' lengths instead of a mask."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.padded = Padded(encoder(size), size)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """values [rows, time, features], lengths [rows] → log-probabilities [rows, classes]."""
        y: Tensor = self.padded(values, torch.arange(values.shape[1]) < lengths[:, None])
        return y


def exported(models: Path, size: Size = REFERENCE) -> Path:
    """`models/NAME-user/1/model.onnx`, made if it is not there."""
    name = f"{size.name}-user"
    file = models / name / "1" / "model.onnx"
    if not file.exists():
        example, console = torch.zeros(2, 5, size.features), Console(quiet=True)
        export_module(ByLengths(size), example, models, name, version="1", longest=LONGEST, quick=True, console=console)
    return file


def round_of(sides: Sides, rows: int, count: int, size: Size = REFERENCE) -> Cost:
    """Both sides in turns, `count` sequences of 1 to LONGEST time steps in batches of `rows`; always the same ones."""
    rng, spent = np.random.default_rng(1), np.zeros(2)
    for _ in range(max(1, count // rows)):
        lengths = rng.integers(1, LONGEST + 1, rows)
        mask = np.arange(lengths.max()) < lengths[:, None]  # [rows, time]
        values = rng.standard_normal((*mask.shape, size.features), np.float32)
        packed: dict[str, NDArray[Any]] = {"values": values[mask], LENGTHS: lengths}
        spent += sides.ours.seconds(packed), sides.padded.seconds({"values": values, "mask": mask})
    ours, padded = spent / (max(1, count // rows) * rows)
    return Cost(float(ours), float(padded))


def user_encoder(site: Site) -> list[Figure]:
    sides = Sides(Runtime(exported(site.results / "models")), Runtime(padded_graph(site.results / "padded")))
    round_of(sides, BATCHES[0], BATCHES[0])  # memory is there, and all is loaded
    count = max(BATCHES[-1], round(SEQUENCES * site.seconds))
    return [figure(rows, site.repeat(partial(round_of, sides, rows, count))) for rows in BATCHES]


def figure(rows: int, rounds: Sequence[Cost]) -> Figure:
    ours, padded = (1 / median(costs) for costs in zip(*rounds, strict=True))
    return Figure(
        f"a user's nn.TransformerEncoder, {rows} rows a batch in arrival order, against its padded graph",
        median(cost.padded / cost.ours for cost in rounds),
        "x",
        LEAST if rows == BATCHES[0] else None,
        at_least=True,
        note=f"{ours:.0f} and {padded:.0f} sequences/s; 4 layers of 256, 1 to {LONGEST} time steps, one thread",
    )
