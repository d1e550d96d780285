"""The learning curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from .loop import Epoch


def draw(path: Path, title: str, histories: Mapping[int, Sequence[Epoch]], dpi: int = 120) -> None:
    """Writes a PNG with the losses of every seed in `histories` over its epochs, 7 by 4 inches."""
    figure = Figure(figsize=(7, 4), layout="constrained")  # not pyplot's, which keeps every figure alive
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss, nats", title=title)
    for colour, (seed, history) in enumerate(histories.items()):
        epochs = range(1, len(history) + 1)
        axes.plot(epochs, [e.train for e in history], ":", color=f"C{colour}", label=f"training, seed {seed}")
        axes.plot(epochs, [e.selection for e in history], color=f"C{colour}", label=f"selection, seed {seed}")
    axes.legend()
    figure.savefig(path, dpi=dpi)
