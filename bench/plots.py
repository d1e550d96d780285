"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from numpy.typing import NDArray

from .figures import Figure

DPI = 80
GOOD, BAD = "tab:green", "tab:red"


def histogram(file: Path, values: NDArray[np.float64], label: str, marks: Mapping[str, float]) -> None:
    """How often each value came, on a logarithmic axis; a line at each mark."""
    picture, axes = _picture(xlabel=label, ylabel="steps")
    axes.hist(values, bins=np.geomspace(values.min(), max(values.max(), *marks.values()), 80).tolist())
    axes.set_xscale("log")
    for text, place in marks.items():
        axes.axvline(place, color=BAD, linestyle="--", label=text)
    axes.legend()
    picture.savefig(file, dpi=DPI)


def line(file: Path, x: Sequence[float], y: Sequence[float], xlabel: str, ylabel: str) -> None:
    picture, axes = _picture(xlabel=xlabel, ylabel=ylabel)
    axes.plot(x, y)
    picture.savefig(file, dpi=DPI)


def bars(file: Path, figures: Sequence[Figure]) -> None:
    """Each figure as a share of its bound, so that all fit one axis: beyond 1 is what at least must be, and before 1
    what at most may be. Those without bound are left out."""
    bound = [(f, f.value / f.bound) for f in figures if f.bound]
    picture, axes = _picture(height=0.5 + 0.3 * len(bound), xlabel="measured / bound")
    colours = [GOOD if f.reached else BAD for f, _ in bound]
    labels = [f"{f.name} ({f.asked} {f.unit})" for f, _ in bound]
    axes.barh(labels, [share for _, share in bound], color=colours)
    axes.axvline(1, color="black")
    axes.invert_yaxis()  # the first on top
    picture.savefig(file, dpi=DPI)


def _picture(*, height: float = 4, **labels: str) -> tuple[Picture, Axes]:
    picture = Picture(figsize=(9, height), layout="constrained")  # not pyplot's, which keeps every figure alive
    return picture, picture.add_subplot(**labels)
