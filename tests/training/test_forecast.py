"""Forecasts of sunspots are judged on the years that are scored, and the exact solution is the published one."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.distributions import Categorical, MixtureSameFamily, Normal

from headrace.spec import ModelSpec
from headrace.training import load, run
from headrace.training.data import sunspots
from headrace.training.forecast import WARM, Density, Forecast, behind, below, next_years, surprise
from headrace.training.models import AutoregressiveForecaster, Config, SequenceModel, build
from headrace.training.ragged import State

MIXTURE: Config = {"architecture": "mixture-forecaster", "hidden": 4, "components": 2}


def fitted(order: int) -> AutoregressiveForecaster:
    model = AutoregressiveForecaster(order)
    Forecast("any", {}).fit_inputs(model)
    return model


@pytest.mark.parametrize(("order", "published"), [(1, 24.09), (2, 16.83), (9, 13.75)])
def test_least_squares_reach_the_published_figures(order: int, published: float) -> None:
    score = Forecast("any", {}).score(fitted(order))
    assert score.value == pytest.approx(published, abs=0.01)
    assert (score.metric, score.better) == ("RMSE", "lower")


def test_no_other_filter_fits_the_training_part_better() -> None:
    model = fitted(3)
    known = torch.from_numpy(sunspots.years(1700, 1920))

    def error() -> float:
        y, wanted = behind(model, known, len(known) - 3)
        return (y - wanted.targets).square().mean().item()

    best = error()
    for weight in model.parameters():
        for change in (0.99, 1.01):
            with torch.no_grad():
                kept = weight.clone()
                weight.mul_(change)
                assert error() > best
                weight.copy_(kept)


def test_a_fresh_window_holds_the_mean() -> None:
    (window,) = fitted(4).describe("any").states
    assert window.shape == (3,) and window.initial == pytest.approx(sunspots.years(1700, 1920).mean(), rel=1e-6)
    assert fitted(1).describe("any").states == ()


class Repeats(SequenceModel):
    """Forecasts the present value; notes how much it read."""

    def step(self, x: torch.Tensor, lengths: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        self.read = len(x)
        return x, state

    def describe(self, name: str) -> ModelSpec:
        return AutoregressiveForecaster(1).describe(name)


def test_the_score_is_over_the_scored_years_from_all_before() -> None:
    naive = Repeats()
    assert Forecast("any", {}).score(naive).value == pytest.approx(25.26, abs=0.01)
    assert naive.read == 1954 - 1700 + 1


def test_nothing_is_learnt_from_the_selection_or_the_scored_part() -> None:
    torch.manual_seed(0)
    drawn = torch.cat([torch.cat([b.x, b.targets]) for e in range(40) for b in Forecast("any", {}).batches(e)])
    learnt = sunspots.years(1700, 1890)
    assert set(drawn[drawn.isfinite()].tolist()) <= set(learnt.tolist())


def test_targets_are_the_years_after_and_the_first_are_not_learnt_from() -> None:
    batch = next_years(torch.arange(14.0).view(2, 7))
    assert (batch.x.tolist(), batch.lengths.tolist()) == ([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12], [6, 6])
    assert batch.targets[batch.targets.isfinite()].tolist() == [5, 6, 12, 13] and WARM == 4


def test_surprise_and_share_below_are_those_of_the_mixture() -> None:
    torch.manual_seed(0)
    mixture = torch.rand(5, 3).softmax(-1), torch.randn(5, 3), torch.rand(5, 3) + 0.1
    truth, values = MixtureSameFamily(Categorical(mixture[0]), Normal(*mixture[1:])), torch.randn(5)
    torch.testing.assert_close(surprise(mixture, values), -truth.log_prob(values).mean())
    torch.testing.assert_close(below(mixture, values), truth.cdf(values))


def test_a_mixture_is_one() -> None:
    torch.manual_seed(0)
    model = build(MIXTURE)
    weights, _, deviations = model(torch.randn(6) * 50, torch.tensor([4, 2]), model.initial_state(2))[0]
    torch.testing.assert_close(weights.sum(-1), torch.ones(6))
    assert (weights > 0).all() and (deviations > 0).all()


def test_the_distance_from_the_intervals_coverage_counts_the_years_within_it() -> None:
    class Certain(Repeats):
        """One Gaussian around the present value, so wide that 80 % of it are 30 to either side."""

        def step(self, x: torch.Tensor, lengths: torch.Tensor, state: State) -> tuple[tuple[torch.Tensor, ...], State]:
            wide = torch.full_like(x, 30 / 1.2815516)
            return tuple(part[:, None] for part in (torch.ones_like(x), x, wide)), state

    error, distance = Density("any", MIXTURE).also(Certain())
    change = torch.from_numpy(sunspots.years(1920, 1955)).diff().abs()
    assert distance.value == pytest.approx(abs((change < 30).float().mean().item() - 0.8))
    assert distance.better == "lower"
    assert error.value == pytest.approx(25.26, abs=0.01)
    gaussian = change.square() / 2 / (30 / 1.2815516) ** 2 + math.log(30 / 1.2815516) + math.log(2 * math.pi) / 2
    assert Density("any", MIXTURE).score(Certain()).value == pytest.approx(gaussian.mean().item())


def test_the_mixture_holds_more_than_a_gaussian(tmp_path: Path) -> None:
    path = run("sunspots-mixture", out=tmp_path, quick=True, console=Console(file=io.StringIO()))
    nats, error, distance = load(path)[1].scores
    assert nats.value < 4.04 and error.value < 16 and distance.value < 0.2
