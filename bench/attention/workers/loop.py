"""A plain loop around the exported file on ONNX Runtime, past in and present out: `python -m ….workers.loop MODEL`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.export.decode import Loop, generate, likeliest

from .talk import Clock, Written, serve


class Plain:
    """One session, the caches as arrays of numpy, prompts packed."""

    def __init__(self, file: Path) -> None:
        self._loop = Loop.load(file)

    def logits(self, ids: list[int]) -> list[float]:
        return self._loop.open(1).step([np.array(ids)])[-1].tolist()  # type: ignore[no-any-return]

    def write(self, prompts: list[list[int]], new: int) -> Written:
        clock = Clock()

        def choose(logits: NDArray[np.float32]) -> NDArray[np.int64]:
            chosen = likeliest(logits)
            clock()
            return chosen

        arrays = [np.array(prompt) for prompt in prompts]
        return clock.together(generate(self._loop.open(len(prompts)), arrays, new, choose).tolist())


if __name__ == "__main__":
    serve(Plain(Path(sys.argv[1])))
