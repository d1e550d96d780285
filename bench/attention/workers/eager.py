"""The model itself in PyTorch, with its cache: `python -m ….workers.eager`."""

from __future__ import annotations

import torch

from ...decoder import decoder
from .talk import Clock, Written, serve


class Eager:
    """Rows of any lengths at once, as the model takes them: prompts packed, caches padded to the longest row."""

    def __init__(self) -> None:
        self._model = decoder()

    @torch.inference_mode()
    def logits(self, ids: list[int]) -> list[float]:
        logits, _ = self._model.step(torch.tensor(ids), torch.tensor([len(ids)]), self._model.initial_state(1))
        return logits[-1].tolist()

    @torch.inference_mode()
    def write(self, prompts: list[list[int]], new: int) -> Written:
        clock, rows = Clock(), len(prompts)
        lengths, one = torch.tensor([len(prompt) for prompt in prompts]), torch.ones(rows, dtype=torch.int64)
        packed = torch.tensor([token for prompt in prompts for token in prompt])  # [tokens]
        logits, state = self._model.step(packed, lengths, self._model.initial_state(rows))
        texts = [logits[lengths.cumsum(0) - 1].argmax(1)]  # each [rows]
        clock()
        while len(texts) < new:
            logits, state = self._model.step(texts[-1], one, state)
            texts.append(logits.argmax(1))
        return clock.together(torch.stack(texts, 1).tolist())


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(Eager())
