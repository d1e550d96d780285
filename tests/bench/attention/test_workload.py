"""Prompts of mixed lengths, the same every time."""

from __future__ import annotations

from headrace.bench.attention.workload import LOADS, LONGEST, SHORTEST, prompts
from headrace.bench.decoder import LONGEST as ROOM


def test_fewer_prompts_are_the_first_of_many() -> None:
    most = prompts(max(LOADS))
    assert len(most) == max(LOADS) and prompts(8) == most[:8]
    lengths = [len(prompt) for prompt in most]
    assert min(lengths) < 2 * SHORTEST and max(lengths) > LONGEST / 2 and max(lengths) <= LONGEST < ROOM
