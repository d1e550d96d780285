"""Whether a text is the model's is judged token by token."""

from __future__ import annotations

from headrace.bench.attention.truth import Judged, Truth
from headrace.bench.attention.workers.eager import Eager
from headrace.bench.decoder import decoder

PROMPTS = [list(range(7)), list(range(20, 0, -1))]


def test_what_the_model_writes_is_right_and_anything_else_is_not() -> None:
    texts = Eager().write(PROMPTS, 6).tokens
    truth = Truth(decoder())
    assert truth.judge(PROMPTS, texts) == Judged(12, 0, 0)
    texts[1][2] = (texts[1][2] + 1) % 63
    judged = truth.judge(PROMPTS, texts)
    assert judged.decisions == 12 and 1 <= judged.wrong <= 4  # what comes behind it is judged behind it


def test_logits_are_those_behind_each_token() -> None:
    all_of_them = Truth(decoder()).logits(PROMPTS[1])
    assert all_of_them.shape == (20, 63)
    assert abs(all_of_them[-1] - Eager().logits(PROMPTS[1])).max() < 1e-5
