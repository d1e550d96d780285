"""A worker's process: what it says, and what is told of one that fails."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from headrace.bench.attention.process import Failed, working
from headrace.bench.attention.workers.talk import Written

#: Answers everything with the same, then ends badly.
FIXED = """
import sys
sys.stdin.readline()
print('{"seconds": 1.0, "first": [0.5], "tokens": [[7, 8]], "cpu": 0.25}', flush=True)
sys.stdin.readline()
sys.exit("no memory")
"""


def command(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_it_is_asked_and_ends_with_the_block(tmp_path: Path) -> None:
    with working(command(FIXED), tmp_path / "log") as worker:
        assert worker.write([[1]], 2) == Written(1.0, [0.5], [[7, 8]], 0.25)
    assert worker.process.poll() is not None


def test_where_a_server_computes_its_time_counts(tmp_path: Path) -> None:
    with working(command(FIXED), tmp_path / "log", os.getpid()) as worker:
        began = time.process_time()
        cpu = worker.write([[1]], 2).cpu
    assert cpu != 0.25 and 0 <= cpu <= time.process_time() - began + 0.1


def test_its_last_words_are_told(tmp_path: Path) -> None:
    with working(command(FIXED), tmp_path / "log") as worker:
        worker.write([[1]], 2)
        with pytest.raises(Failed, match="no memory"):
            worker.write([[1]], 2)
        with pytest.raises(Failed, match="no memory"):
            worker.logits([1])


def test_texts_that_are_too_short_are_none(tmp_path: Path) -> None:
    with working(command(FIXED), tmp_path / "log") as worker, pytest.raises(Failed, match=r"texts of \[2\] tokens"):
        worker.write([[1]], 3)


def test_one_that_never_began_is_told_too(tmp_path: Path) -> None:
    with working(command("pass"), tmp_path / "log") as worker, pytest.raises(Failed, match="without a word"):
        worker.logits([1])
