"""How a worker is asked and answers: one line of JSON each way. It imports nothing of the project.

{"logits": [ids]}                   → {"logits": [symbols]}, of what follows the ids
{"prompts": [[ids], …], "new": n}   → {"seconds": …, "first": [sequences], "tokens": [sequences][n], "cpu": …}

All prompts are there at once, n tokens are written to each, the likeliest always. seconds: from then until the last
token is there; first: until each sequence's first one is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Written:
    """What was written to some prompts; times in seconds from the asking. cpu: the process's seconds on a core."""

    seconds: float
    first: list[float]
    tokens: list[list[int]]
    cpu: float = 0.0


class Writer(Protocol):
    def logits(self, ids: list[int]) -> Sequence[float]:
        """Of the token behind these."""
        ...

    def write(self, prompts: list[list[int]], new: int) -> Written: ...


class Clock:
    """Counts from its making. Called when tokens come, it notes when it first was."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._began, self.first = now, now(), 0.0

    def __call__(self) -> None:
        if not self.first:
            self.first = self.seconds

    @property
    def seconds(self) -> float:
        return self._now() - self._began

    def together(self, tokens: list[list[int]]) -> Written:
        """All sequences had their first token at the same time; the last is there now."""
        return Written(self.seconds, [self.first] * len(tokens), tokens)


def serve(writer: Writer) -> None:
    """Answers until nobody asks any more. What libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            answers.write(json.dumps(answer(writer, json.loads(line))) + "\n")
            answers.flush()


def answer(writer: Writer, asked: dict[str, list[int]]) -> dict[str, object]:
    """Of one line."""
    if "logits" in asked:
        return {"logits": [float(value) for value in writer.logits(asked["logits"])]}
    before = time.process_time()
    written = writer.write(**asked)  # type: ignore[arg-type]
    return asdict(replace(written, cpu=time.process_time() - before))
