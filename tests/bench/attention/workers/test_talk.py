"""What a worker is asked, and what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.bench.attention.workers import talk
from headrace.bench.attention.workers.talk import Clock, Written, answer

#: A worker whose library prints where it should not.
LOUD = """
import talk
class Loud:
    def logits(self, ids):
        print("loading", flush=True)
        return [len(ids)]
talk.serve(Loud())
"""


class Echo:
    """Writes a prompt's first token again and again."""

    def logits(self, ids: list[int]) -> list[float]:
        return [0.5, len(ids)]

    def write(self, prompts: list[list[int]], new: int) -> Written:
        return Written(2.0, [1.0] * len(prompts), [prompt[:1] * new for prompt in prompts])


def test_both_questions_are_answered() -> None:
    assert answer(Echo(), {"logits": [3, 4]}) == {"logits": [0.5, 2.0]}
    said = answer(Echo(), {"prompts": [[3, 4], [5]], "new": 2})  # type: ignore[dict-item]
    cpu = said.pop("cpu")
    assert isinstance(cpu, float) and cpu >= 0
    assert said == {"seconds": 2.0, "first": [1.0, 1.0], "tokens": [[3, 3], [5, 5]]}


def test_the_clock_notes_the_first_token_only() -> None:
    times = iter([10.0, 10.5, 12.0, 13.0])
    clock = Clock(lambda: next(times))
    clock()
    assert clock.first == 0.5
    clock()
    assert clock.together([[1], [2]]) == Written(2.0, [0.5, 0.5], [[1], [2]])


def test_what_a_library_prints_is_no_answer() -> None:
    folder = Path(talk.__file__).parent
    command, asked = [sys.executable, "-c", LOUD], '{"logits": [1, 2]}\n'
    done = subprocess.run(command, input=asked, cwd=folder, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ('{"logits": [2.0]}\n', "loading\n")


@pytest.mark.parametrize("asked", [{"new": 3}, {"prompts": [[1]], "new": 2, "more": 1}])
def test_a_question_that_is_none_fails(asked: dict[str, list[int]]) -> None:
    with pytest.raises(TypeError):
        answer(Echo(), asked)
