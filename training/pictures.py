"""Pictures of what models see: attention over a sequence, and forecasts with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from .data import sunspots, vowels
from .forecast import INTERVAL, Mixture, behind, below
from .models import SequenceModel
from .runs import load

#: Steps in which the quantiles of a mixture are looked for, between 0 and so many sunspots.
STEPS, MOST = 1000, 300.0


def attention(path: Path, trained: Path, utterance: int = 0) -> None:
    """Draws the attention weights of a trained encoder over one test utterance: a row a layer, a column a head.

    trained: the checkpoint of an `encoder-classifier`
    """
    weights = attention_weights(trained, torch.from_numpy(vowels.load("TEST").rows[utterance])).numpy()
    time, layers, heads, _ = weights.shape
    figure = Figure(figsize=(1.7 * heads, 1.8 * layers), layout="constrained")
    panels = figure.subplots(layers, heads, squeeze=False, sharex=True, sharey=True)
    for (layer, head), axes in np.ndenumerate(panels):
        axes.imshow(weights[:, layer, head, :time], cmap="viridis")
        axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
    figure.supxlabel("attended time step", fontsize=8)
    figure.supylabel("time step", fontsize=8)
    figure.savefig(path, dpi=80)


@torch.no_grad()
def attention_weights(trained: Path, values: torch.Tensor) -> torch.Tensor:
    """values [time, features] through the trained encoder → its weights [time, layers, heads, SHOWN]."""
    model, _ = load(trained, weights=True)
    (_, weights), _ = model.step(values, torch.tensor([len(values)]), {})
    assert isinstance(weights, torch.Tensor)
    return weights


def intervals(path: Path, trained: Path) -> None:
    """Draws the scored years, and for each the mean and the middle 80 % of the mixture that was forecast."""
    model, _ = load(trained)
    mixture, came = scored(model)
    years = range(sunspots.SCORED, sunspots.LAST + 1)
    low, high = (quantile(mixture, (1 + side * INTERVAL) / 2).numpy() for side in (-1, 1))
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot(xlabel="year", ylabel="sunspots")
    axes.fill_between(years, low, high, alpha=0.3, label=f"middle {INTERVAL:.0%} of the forecast")
    axes.plot(years, (mixture[0] * mixture[1]).sum(-1).numpy(), label="mean of the forecast")
    axes.plot(years, came.numpy(), "k.", label="what came")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=80)


def scored(model: SequenceModel) -> tuple[Mixture, torch.Tensor]:
    """The mixtures forecast for the scored years, each [years, components], and what came [years]."""
    series = torch.from_numpy(sunspots.years(sunspots.FIRST, sunspots.LAST))
    mixture, wanted = behind(model, series, sunspots.LAST - sunspots.SCORED + 1)
    return mixture, wanted.targets


def quantile(mixture: Mixture, share: float) -> torch.Tensor:
    """[tokens] the value below which `share` of each mixture [tokens, components] lies, to a third of a sunspot."""
    values = torch.linspace(0, MOST, STEPS)
    shares = torch.stack([below(mixture, value.expand(len(mixture[0]))) for value in values])  # [STEPS, tokens]
    return values[(shares < share).sum(0).clamp_max(STEPS - 1)]
