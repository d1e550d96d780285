"""A worker's process, asked over its pipes; `workers/talk.py` says how."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..process import cpu_seconds
from .workers.talk import Written

#: Seconds for an answer, those of the library's start among them; and to end when nobody asks any more.
ANSWER, END = 300.0, 15.0


class Failed(Exception):
    """A worker ended, or did not answer in time; says what it said last."""


@dataclass(frozen=True, slots=True)
class Worker:
    """log: where its standard error goes. server: the process that computes, if another one does."""

    process: subprocess.Popen[str]
    log: Path
    server: int | None = None

    def logits(self, ids: Sequence[int]) -> list[float]:
        """[symbols] of the token behind these. Raises Failed."""
        found: list[float] = self._ask(logits=list(ids))["logits"]
        return found

    def write(self, prompts: Sequence[Sequence[int]], new: int) -> Written:
        """cpu: of what computes. Raises Failed, also if texts are missing or of another length."""
        before = cpu_seconds(self.server) if self.server else 0.0
        written = Written(**self._ask(prompts=[list(prompt) for prompt in prompts], new=new))
        if [len(text) for text in written.tokens] != [new] * len(prompts):
            raise Failed(f"texts of {[len(text) for text in written.tokens]} tokens")
        return replace(written, cpu=cpu_seconds(self.server) - before) if self.server else written

    def _ask(self, **asked: object) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Failed(self._last_words()) from error
        if not select.select([self.process.stdout], [], [], ANSWER)[0]:
            raise Failed(f"no answer in {ANSWER:g} s")
        if not (line := self.process.stdout.readline()):
            raise Failed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):  # its pipes close before its last words are written
            self.process.wait(END)
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"


@contextmanager
def working(command: Sequence[str], log: Path, server: int | None = None) -> Iterator[Worker]:
    """Runs it while the block runs, on the cores of the caller. server: the process that computes, if it does not."""
    with log.open("w") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, bufsize=1
        )
    try:
        yield Worker(process, log, server)
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Nobody asks any more, so it ends; one that does not is killed."""
    assert process.stdin is not None and process.stdout is not None
    for pipe in (process.stdin, process.stdout):
        try:
            pipe.close()
        except BrokenPipeError:  # it has ended before
            continue
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
