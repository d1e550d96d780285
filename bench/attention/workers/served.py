"""Headrace by its client: `python -m ….workers.served ADDRESS MODEL CORE …`, with the server at that address."""

from __future__ import annotations

import asyncio
import os
import sys

import numpy as np

from headrace import connect

from .talk import Clock, Written, serve


class Served:
    """All prompts in one call; what is written comes as it is written. Connected before the clock begins."""

    def __init__(self, address: str, model: str) -> None:
        self._address, self._model = address, model

    def logits(self, ids: list[int]) -> list[float]:
        return asyncio.run(self._logits(ids))

    def write(self, prompts: list[list[int]], new: int) -> Written:
        return asyncio.run(self._write(prompts, new))

    async def _logits(self, ids: list[int]) -> list[float]:
        async with connect(self._address) as client:
            sequence = await client.open(self._model)
            logits = await sequence.step(np.array(ids))
            await sequence.close()
        return np.asarray(logits)[-1].tolist()  # type: ignore[no-any-return]

    async def _write(self, prompts: list[list[int]], new: int) -> Written:
        """Raises the error of a text that fails."""
        texts: list[list[int]] = [[] for _ in prompts]
        first = [0.0] * len(prompts)
        async with connect(self._address) as client:
            await client.find(self._model)
            clock = Clock()
            async for piece in client.generate(self._model, prompts, max_tokens=new):
                if piece.error is not None:
                    raise piece.error
                texts[piece.prompt] += piece.tokens
                first[piece.prompt] = first[piece.prompt] or clock.seconds
            return Written(clock.seconds, first, texts)


if __name__ == "__main__":
    os.sched_setaffinity(0, map(int, sys.argv[3:]))
    serve(Served(*sys.argv[1:3]))
