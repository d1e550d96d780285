"""The tasks on yearly sunspots: next year's number, as one value or as a mixture of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from headrace.spec import Score

from .data import sunspots
from .models import Config, SequenceModel
from .models.forecasters import Forecaster
from .task import Batch, Task

#: Crops of the series: so many in a batch and batches in an epoch, of so many years each.
ROWS, BATCHES, YEARS = 16, 4, 48

#: Years at the start of a crop that are not learnt from: the model does not know yet where in its cycle the sun is.
WARM = 4

#: The last years of the training part, kept apart for early stopping.
SELECTION = 30

Mixture = tuple[Tensor, ...]
"""Weights, means and deviations, each [tokens, components]."""

INTERVAL = 0.8
DATA = f"yearly sunspots {sunspots.SCORED} to {sunspots.LAST}, each from all years before it"
PUBLISHED = "naive 25.26, AR(1) 24.09, AR(2) 16.83, AR(9) 13.75"
GAUSSIAN = "Gaussian AR(9) 4.041"


class Sunspots(Task):
    """Learns from random crops of 1700 to 1890, selects by the thirty years behind them; 1921 to 1955 are scored."""

    def __init__(self, name: str, config: Config) -> None:
        self.name, self.config = name, config
        self._known = torch.from_numpy(sunspots.years(sunspots.FIRST, sunspots.SCORED - 1))  # [years]
        self._all = torch.from_numpy(sunspots.years(sunspots.FIRST, sunspots.LAST))

    def fit_inputs(self, model: SequenceModel) -> None:
        assert isinstance(model, Forecaster)
        model.fit(self._known)

    def batches(self, epoch: int) -> Iterator[Batch]:
        crops = self._known[:-SELECTION].unfold(0, YEARS + 1, 1)  # [crops, years + 1]
        for chosen in torch.randint(len(crops), (BATCHES, ROWS)):
            yield next_years(crops[chosen])

    def select(self, model: SequenceModel) -> float:
        y, wanted = behind(model, self._known, SELECTION)
        return self.loss(y, wanted).item()

    def _scored(self, model: SequenceModel) -> tuple[Any, Tensor]:
        """What the model says of the scored years, each from all before it, and their numbers [years]."""
        y, wanted = behind(model, self._all, sunspots.LAST - sunspots.SCORED + 1)
        return y, wanted.targets


class Forecast(Sunspots):
    """For models that say one value: judged by their squared error."""

    def loss(self, y: Any, batch: Batch) -> Tensor:
        """In units of the series' own deviation."""
        scale, learnt = self._known.std(), batch.targets.isfinite()
        return mse_loss(y[learnt] / scale, batch.targets[learnt] / scale)

    def score(self, model: SequenceModel) -> Score:
        return rmse(*self._scored(model))


class Density(Sunspots):
    """For models that say a mixture: judged by how likely they held what came."""

    def loss(self, y: Any, batch: Batch) -> Tensor:
        learnt = batch.targets.isfinite()
        return surprise(tuple(part[learnt] for part in y), batch.targets[learnt])

    def score(self, model: SequenceModel) -> Score:
        value = surprise(*self._scored(model)).item()
        return Score(metric="nats a year", value=value, published=GAUSSIAN, better="lower", data=DATA)

    def also(self, model: SequenceModel) -> Sequence[Score]:
        """The error of the mixture's mean, and how far from 80 % of what came its middle 80 % held."""
        (weights, means, deviations), came = self._scored(model)
        at = below((weights, means, deviations), came)
        inside = ((at > (1 - INTERVAL) / 2) & (at < (1 + INTERVAL) / 2)).float().mean().item()
        metric = f"distance from {INTERVAL:.0%} of what the {INTERVAL:.0%} interval covers"  # wider is not better
        distance = Score(metric=metric, value=abs(inside - INTERVAL), better="lower", data=DATA)
        return rmse((weights * means).sum(-1), came), distance


def next_years(crops: Tensor) -> Batch:
    """crops [rows, years + 1] → a batch of `years` a row; targets [tokens], no number where nothing is learnt."""
    targets = crops[:, 1:].clone()
    targets[:, :WARM] = math.nan
    return Batch(crops[:, :-1].flatten(), torch.full((len(crops),), crops.shape[1] - 1), targets.flatten())


@torch.no_grad()
def behind(model: SequenceModel, series: Tensor, years: int) -> tuple[Any, Batch]:
    """What the model said of each of the last `years` of the series [time], and these, having read all before them."""
    x, lengths = series[:-1], torch.tensor([len(series) - 1])
    y, _ = model(x, lengths, model.initial_state(1))
    y = tuple(part[-years:] for part in y) if isinstance(y, tuple) else y[-years:]
    return y, Batch(x[-years:], torch.tensor([years]), series[-years:])


def rmse(y: Tensor, targets: Tensor) -> Score:
    """Root of the mean squared error of y [tokens], in sunspots."""
    value = mse_loss(y, targets).sqrt().item()
    return Score(metric="RMSE", value=value, published=PUBLISHED, better="lower", data=DATA)


def surprise(mixture: Mixture, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood, in nats, of targets [tokens]."""
    weights, means, deviations = mixture
    distance = (targets[:, None] - means) / deviations
    parts = weights.log() - deviations.log() - (distance.square() + math.log(2 * math.pi)) / 2
    return -parts.logsumexp(-1).mean()


def below(mixture: Mixture, values: Tensor) -> Tensor:
    """[tokens] how much of each mixture lies below its value of `values` [tokens]: 0 to 1."""
    weights, means, deviations = mixture
    parts: Tensor = weights * torch.special.ndtr((values[:, None] - means) / deviations)  # [tokens, components]
    return parts.sum(-1)
