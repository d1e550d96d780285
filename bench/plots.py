"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from numpy.typing import NDArray

from .figures import Figure, number

DPI = 80
GOOD, BAD = "tab:green", "tab:red"

#: So many times better or worse is where the axis ends.
EDGE = 8.0
TICKS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


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
    """How many times better, or worse, than its bound each figure is; those without bound are left out."""
    bound = [f for f in figures if f.bound is not None]
    picture, axes = _picture(height=1 + 0.3 * len(bound), xlabel="times better than asked", xscale="log")
    names = [f"{f.name} ({f.asked} {f.unit})" for f in bound]
    times = [margin(f) for f in bound]
    drawn = axes.barh(names, [m - 1 for m in times], left=1, color=[GOOD if f.reached else BAD for f in bound])
    axes.bar_label(drawn, [number(f.value) for f in bound], padding=3)
    axes.set_xlim(0.5 / EDGE, 2 * EDGE)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.invert_yaxis()  # the first on top
    picture.savefig(file, dpi=DPI)


def margin(figure: Figure) -> float:
    """1 at the bound, more where it is better; no less than 1 / EDGE, no more than EDGE."""
    value, bound = figure.value, figure.bound or 0.0
    above, below = (value, bound) if figure.at_least else (bound, value)
    if below <= 0:
        return EDGE if figure.reached else 1 / EDGE
    return min(max(above / below, 1 / EDGE), EDGE)


def _picture(*, height: float = 4, **labels: str) -> tuple[Picture, Axes]:
    picture = Picture(figsize=(11, height), layout="constrained")  # not pyplot's, which keeps every figure alive
    return picture, picture.add_subplot(**labels)
