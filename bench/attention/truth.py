"""Whether texts are those that the model writes: eager PyTorch, each sequence alone, says so token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from headrace.training.models import Decoder

#: Logits of several libraries are so near each other; where two symbols are, either may be written.
NEAR = 1e-4


@dataclass(frozen=True, slots=True)
class Judged:
    """decisions: tokens written; wrong: those that are not the likeliest, by more than NEAR; near: where the second
    symbol is so near the first that it might have been either."""

    decisions: int
    wrong: int
    near: int

    def __add__(self, other: Judged) -> Judged:
        return Judged(self.decisions + other.decisions, self.wrong + other.wrong, self.near + other.near)


class Truth:
    def __init__(self, model: Decoder) -> None:
        self._model = model

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """[ids, symbols]: behind each of them."""
        state = self._model.initial_state(1)
        logits, _ = self._model.step(torch.tensor(ids), torch.tensor([len(ids)]), state)
        found: NDArray[np.float32] = logits.numpy()
        return found

    def judge(self, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> Judged:
        """Each token is judged behind what was written before it, right or wrong."""
        return sum((self._judge(list(p), list(t)) for p, t in zip(prompts, texts, strict=True)), Judged(0, 0, 0))

    def _judge(self, prompt: list[int], text: list[int]) -> Judged:
        logits = self.logits(prompt + text[:-1])[len(prompt) - 1 :]  # [text, symbols]
        second, best = np.sort(logits, 1)[:, -2:].T  # each [text]
        below = best - logits[np.arange(len(text)), text]
        return Judged(len(text), int((below > NEAR).sum()), int((best - second <= NEAR).sum()))
