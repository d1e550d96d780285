"""Windows of a text: each character of the scored part is predicted once, from what stands before it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from headrace.training.data.kjv import Corpus
from headrace.training.models import Config, SequenceModel, build
from headrace.training.windows import BATCHES, ROWS, Windows, windows

from .samples import SYMBOLS, letters

WIDTH = 16
CONFIG: Config = {"architecture": "decoder", "symbols": SYMBOLS, "width": 8, "heads": 2, "layers": 1, "longest": WIDTH}


def task(corpus: Corpus) -> Windows:
    return Windows("letters", CONFIG, corpus, WIDTH)


def model() -> SequenceModel:
    torch.manual_seed(0)
    return build(CONFIG).eval()


def test_batches_are_windows_of_the_training_part() -> None:
    corpus = letters(4000, 0)
    torch.manual_seed(0)
    every = list(task(corpus).batches(0))
    text = "".join(map(str, corpus.train))
    assert len(every) == BATCHES and {tuple(b.lengths.tolist()) for b in every} == {(WIDTH,) * ROWS}
    x, targets = (t.view(ROWS, WIDTH)[3].tolist() for t in (every[5].x, every[5].targets))
    assert x[1:] == targets[:-1] and "".join(map(str, [*x, targets[-1]])) in text
    assert not torch.equal(every[0].x, every[1].x)


@pytest.mark.parametrize("count", [800, 803, 812])
def test_every_character_is_predicted_once_from_half_a_window_or_more(count: int) -> None:
    corpus, judge = letters(count, 1), model()
    text = np.concatenate([corpus.selection, corpus.scored])
    first, nats = len(corpus.selection), []
    for k in range(0, len(corpus.scored), WIDTH // 2):  # each window alone, cut where the text ends
        window = torch.from_numpy(text[first + k - WIDTH // 2 - 1 : first + k + WIDTH // 2])
        y, _ = judge(window[:-1], torch.tensor([len(window) - 1]), judge.initial_state(1))
        nats.append(cross_entropy(y, window[1:], reduction="none")[WIDTH // 2 :])
    counted = torch.cat(nats)
    assert len(counted) == len(corpus.scored)
    score = task(corpus).score(judge)
    assert score.value == pytest.approx(counted.mean().item() / math.log(2), rel=1e-4)
    assert "from 8 to 16 characters" in score.data


def test_a_model_that_knows_nothing_needs_two_bits_for_four_letters() -> None:
    blank = model()
    for weight in blank.parameters():
        weight.data.zero_()
    corpus = letters(800, 1)
    assert task(corpus).score(blank).value == pytest.approx(2.0, rel=1e-5)
    assert task(corpus).select(blank) == pytest.approx(math.log(4), rel=1e-5)


def test_windows_begin_where_they_are_told() -> None:
    assert windows(np.arange(9), np.array([0, 4]), 3).tolist() == [[0, 1, 2], [4, 5, 6]]
