"""What the speakers' task takes for an answer, and how it judges it."""

from __future__ import annotations

import pytest
import torch

from headrace.training.classify import batch, classification_loss, last
from headrace.training.models import build
from headrace.training.task import Batch

from .samples import GRU, classify, ramps

LENGTHS = torch.tensor([2, 1, 3])


def test_the_answer_is_at_the_last_step_of_each_row() -> None:
    each_step = torch.arange(6.0)[:, None]  # [tokens, 1]
    wanted = Batch(each_step, LENGTHS, torch.zeros(3, dtype=torch.int64))
    assert last(each_step, wanted).tolist() == [[1], [2], [5]]
    each_row = torch.arange(3.0)[:, None]  # [rows, 1]
    assert last(each_row, wanted) is each_row


def test_loss_is_the_surprise_at_the_right_class() -> None:
    y = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]).log()
    wanted = Batch(y, torch.tensor([2, 1]), torch.tensor([1, 0]))
    torch.testing.assert_close(classification_loss(y, wanted), -torch.tensor([0.75, 0.9]).log().mean())


def test_an_epoch_reads_every_training_utterance_once() -> None:
    torch.manual_seed(0)
    lengths = [n for b in classify().batches(0) for n in b.lengths.tolist()]
    assert len(lengths) == 50  # 60 less 5 of each class
    assert sorted(lengths) != lengths


def test_inputs_are_fitted_on_the_training_part_without_the_slice() -> None:
    task, model = classify(), build(GRU)
    task.fit_inputs(model)
    standardised = torch.cat([b.x for b in task.batches(0)]).std(0)
    torch.testing.assert_close(model.get_buffer("standardise.std"), standardised)


def test_score_is_the_share_of_right_answers() -> None:
    torch.manual_seed(0)
    utterances = ramps(40, 2)
    model = build(GRU).eval()
    scored = batch(utterances)
    y, _ = model(scored.x, scored.lengths, model.initial_state(40))
    utterances.labels[:] = last(y, scored).argmax(-1).numpy()
    assert classify(utterances).score(model).value == 1.0
    utterances.labels[:10] = 1 - utterances.labels[:10]
    score = classify(utterances).score(model)
    assert score.value == pytest.approx(0.75)
    assert (score.metric, score.better) == ("accuracy", "higher")
