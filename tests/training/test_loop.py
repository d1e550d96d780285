"""The loop stops when it should, keeps the best, goes on where it was, and never looks at the scored part."""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from headrace.errors import ConfigurationError
from headrace.training.language import next_characters
from headrace.training.loop import Report, Run, fit
from headrace.training.task import Budget, Task

from .samples import GRU, Scripted, classify, language, letters, ramps

BUDGET = Budget(epochs=4, patience=4, rate=1e-2)


def quiet(used: float, how: str) -> None:
    pass


def trained(task: Task, path: Path, budget: Budget = BUDGET, *, resume: bool = False, report: Report = quiet) -> Run:
    """A run of seed 3 on a clock that stands at 0."""
    return fit(task, budget, 3, path, resume=resume, clock=lambda: 0.0, report=report)


def weights(run: Run) -> torch.Tensor:
    return torch.cat([w.detach().reshape(-1) for w in run.model.parameters()])


def test_training_helps_and_leaves_the_callers_generator(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run = trained(classify(), tmp_path / "x.pt", Budget(epochs=15, patience=15, rate=1e-2))
    assert classify().score(run.model).value > 0.9
    assert run.history[-1].selection < run.history[0].selection / 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_gives_the_same_run_again(tmp_path: Path) -> None:
    first, again = (trained(classify(), tmp_path / "x.pt") for _ in range(2))
    assert torch.equal(weights(first), weights(again))


@pytest.mark.parametrize("task", [classify(), language(letters(40_000, 0))], ids=["classify", "language"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path, task: Task) -> None:
    whole = trained(task, tmp_path / "whole.pt")

    def cut(used: float, how: str) -> None:
        if used >= 0.5:  # in the third of four epochs, whose work is lost
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(task, tmp_path / "cut.pt", report=cut)
    resumed = trained(task, tmp_path / "cut.pt", resume=True)
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.history == resumed.history


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    run = trained(classify(), tmp_path / "x.pt")

    def refuse(used: float, how: str) -> None:
        raise AssertionError("trains")

    assert torch.equal(weights(trained(classify(), tmp_path / "x.pt", resume=True, report=refuse)), weights(run))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    trained(classify(), tmp_path / "x.pt")
    with pytest.raises(ConfigurationError, match=r"'kind': 'gru'.*'kind': 'lstm'"):
        trained(classify(config=GRU | {"kind": "lstm"}), tmp_path / "x.pt", resume=True)


def test_the_scored_part_has_no_part_in_training_or_selection(tmp_path: Path) -> None:
    scrambled = ramps(40, 9)
    scrambled.labels[:] = 1 - scrambled.labels
    runs = [trained(task, tmp_path / "x.pt") for task in (classify(), classify(scrambled))]
    assert torch.equal(*map(weights, runs))
    first, other = letters(20_000, 0), letters(20_000, 0)
    other.scored[:] = np.random.default_rng(1).permutation(other.scored)
    runs = [trained(language(corpus), tmp_path / "y.pt") for corpus in (first, other)]
    assert torch.equal(*map(weights, runs))


BATCH = next_characters(np.array([[0, 1, 2, 3, 0]]))


def test_it_stops_after_patience_and_keeps_the_best_weights(tmp_path: Path) -> None:
    task = Scripted([BATCH], losses=[3.0, 1.0, 2.0, 1.0, 0.5])
    run = trained(task, tmp_path / "x.pt", Budget(epochs=9, patience=2, rate=1e-2))
    assert [e.selection for e in run.history] == [3.0, 1.0, 2.0, 1.0]
    assert torch.equal(next(run.model.parameters()), task.selected[1])
    assert not torch.equal(task.selected[1], task.selected[3])


def test_a_run_that_diverges_ends_and_keeps_what_it_had(tmp_path: Path) -> None:
    task = Scripted([BATCH], losses=[2.0, *[math.nan] * 9])
    run = trained(task, tmp_path / "x.pt", Budget(epochs=9, patience=3, rate=1e-2))
    assert [e.selection for e in run.history] == [2.0, math.inf, math.inf, math.inf]
    assert torch.equal(next(run.model.parameters()), task.selected[0])


def test_seconds_end_a_run_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    ticks, task = count(), Scripted([BATCH] * 50, losses=[1.0] * 9)
    budget = Budget(epochs=9, patience=9, rate=1e-2, seconds=20)
    run = fit(task, budget, 0, tmp_path / "x.pt", resume=False, clock=lambda: float(next(ticks)), report=quiet)
    assert len(run.history) == 1 and run.done
    assert 15 < len(task.outputs) < 20  # a second each, less those that look at the clock before and after


def test_the_state_is_carried_on_and_the_gradient_cut(tmp_path: Path) -> None:
    whole = np.array([[0, 1, 2, 3, 0, 1, 3], [3, 3, 2, 1, 2, 1, 0]])
    chunks = [next_characters(whole[:, :4]), next_characters(whole[:, 3:])]
    still = Budget(epochs=1, patience=1, rate=0.0)  # the weights stay, so that outputs can be compared
    outputs = {}
    for carried in (True, False):
        task = Scripted(chunks, losses=[1.0], carried=carried)
        # A gradient that went back into the first chunk would fail: its graph is freed by then.
        run = trained(task, tmp_path / "x.pt", still)
        outputs[carried] = torch.cat([y.view(2, 3, -1) for y in task.outputs], 1)  # [rows, time, symbols]
    batch = next_characters(whole)
    expected, _ = run.model(batch.x, batch.lengths, run.model.initial_state(2))
    torch.testing.assert_close(outputs[True], expected.view(2, 6, -1))
    assert (outputs[False] - outputs[True])[:, 3:].abs().max() > 1e-3


def test_the_rate_falls_to_zero(tmp_path: Path) -> None:
    task = Scripted([BATCH], losses=[1.0] * 50)
    trained(task, tmp_path / "x.pt", Budget(epochs=50, patience=50, rate=1e-2))
    moves = [float((b - a).abs().max()) for a, b in zip(task.selected, task.selected[1:], strict=False)]
    assert moves[-1] < moves[0] / 50


def test_large_gradients_are_clipped(tmp_path: Path) -> None:
    trained(Scripted([BATCH], losses=[1.0]), tmp_path / "x.pt", Budget(epochs=1, patience=1, rate=1e-2, clip=1e-3))
    moments = torch.load(tmp_path / "x.pt", weights_only=True)["optimiser"]["state"].values()
    norm = torch.cat([m["exp_avg"].reshape(-1) for m in moments]).norm()  # a tenth of the first gradient
    torch.testing.assert_close(norm, torch.tensor(1e-4), rtol=1e-3, atol=0.0)
