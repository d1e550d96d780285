"""The streams of the text follow on, and a text measured in streams has the figure of a single one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from headrace.training.language import CHUNK, EPOCHS_A_PASS, STREAMS, side_by_side, surprise_behind
from headrace.training.models import SequenceModel, build

from .samples import CHARACTERS, SYMBOLS, language, letters


def model() -> SequenceModel:
    torch.manual_seed(0)
    return build(CHARACTERS).eval()


def truth(text: np.ndarray[tuple[int], np.dtype[np.int64]], first: int) -> float:
    """Nats at text[first:], the whole text in one call as one row."""
    x, judge = torch.from_numpy(text), model()
    y, _ = judge(x[:-1], torch.tensor([len(x) - 1]), judge.initial_state(1))
    return cross_entropy(y[first - 1 :], x[first:], reduction="sum").item()


def test_batches_follow_on_over_chunks_and_epochs() -> None:
    corpus = letters(2 * STREAMS * CHUNK * EPOCHS_A_PASS * 3, 0)
    read = [b for epoch in range(EPOCHS_A_PASS) for b in language(corpus).batches(epoch)]
    x = torch.cat([b.x.view(STREAMS, -1) for b in read], 1)
    targets = torch.cat([b.targets.view(STREAMS, -1) for b in read], 1)
    streams = torch.from_numpy(side_by_side(corpus.train, STREAMS))
    assert torch.equal(x, streams[:, : x.shape[1]]) and torch.equal(targets, streams[:, 1 : x.shape[1] + 1])
    assert x.shape[1] > streams.shape[1] * 0.6


def test_epochs_begin_again_after_a_pass() -> None:
    task = language(letters(2 * STREAMS * CHUNK * EPOCHS_A_PASS * 3, 0))
    first, again = (next(task.batches(epoch)) for epoch in (1, 1 + EPOCHS_A_PASS))
    assert torch.equal(first.x, again.x)


def test_side_by_side_rows_are_consecutive_parts() -> None:
    assert side_by_side(np.arange(7), 3).tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("length", [1600, 1607])
def test_streams_that_meet_give_the_figure_of_one(length: int) -> None:
    text = letters(4 * length, 1).scored
    one, many = (surprise_behind(model(), text, 200, streams=n) for n in (1, 7))
    assert many == pytest.approx(one, rel=1e-6)
    assert one == pytest.approx(truth(text, 200), rel=1e-6)


def test_streams_that_do_not_meet_are_read_as_one() -> None:
    text = letters(4 * 400, 1).scored
    assert surprise_behind(model(), text, 2, streams=7) == pytest.approx(truth(text, 2), rel=1e-6)


def test_score_counts_every_character_behind_the_selection_slice() -> None:
    corpus = letters(8000, 1)
    text = np.concatenate([corpus.selection, corpus.scored])
    score = language(corpus).score(model())
    expected = truth(text, len(corpus.selection)) / len(corpus.scored) / math.log(2)
    assert score.value == pytest.approx(expected, rel=1e-5)
    assert (score.metric, score.better) == ("bits per character", "lower")


def test_a_model_that_knows_nothing_needs_two_bits_for_four_letters() -> None:
    blank = model()
    for weight in blank.parameters():
        weight.data.zero_()
    corpus = letters(8000, 1)
    assert language(corpus).score(blank).value == pytest.approx(2.0, rel=1e-5)
    assert language(corpus).select(blank) == pytest.approx(math.log(len(SYMBOLS)), rel=1e-5)
