"""`make demo`: the whole line on real data, from training to a resumed stream, and a table that is true."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import headrace
from headrace.client import Client, Result, ServedModel
from headrace.spec import ModelSpec

from .load import Load, frames
from .proxy import proxy
from .server import Running, serving

#: What is shown: one of each kind, and few enough to be trained while somebody waits.
TASKS = ("vowels-gru", "vowels-lstm", "vowels-rnn", "vowels-encoder", "kjv-gru")

#: Load of the table: so many steps in a frame, on so many connections, for so many seconds a model.
ROWS, CONNECTIONS, SECONDS = 64, 2, 2.0

#: The table needs so many, also where the output is no terminal.
COLUMNS = 140

#: Of a model without state a row is a whole sequence: about as long as those of the real data.
WHOLE_SEQUENCE = 15

#: The models of these tasks are scored through the server too; so far may the two scores be apart.
SCORED, MOST_APART = "vowels-", 0.005

#: The connection is cut after so many steps of the sequence that is resumed, again and again.
CUT_AFTER, CUTS, STEPS = 7, 4, 40


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table. `served`: the score of the real data streamed through the server, where it was; `cuts`: how
    often the connection was open and broken; `resumed`: whether all answers are those of the one that was not."""

    model: ServedModel
    load: Load
    served: float | None
    cuts: int
    resumed: bool | None


def demo(folder: Path, *, quick: bool) -> None:
    """Trains, exports, serves, streams, cuts and resumes. Raises SystemExit if what it shows is not as it should be."""
    console = Console(width=max(Console().width, COLUMNS))
    runs, models = folder / "runs", folder / "models"
    console.rule("train")
    _headrace("train", *TASKS, "--out", str(runs), *(["--quick"] if quick else []))
    console.rule("export and verify")
    _headrace("export", "--models", str(models), *map(str, sorted(runs.glob("*/checkpoint.pt"))))
    console.rule("serve and stream")
    with serving(models, log=folder / "server.log") as server:
        console.print(f"serving on {server.address}, its log is {folder / 'server.log'}")
        lines = asyncio.run(_stream(server, console))
        console.rule(f"{server.metrics}")
        console.print("\n".join(_shown(server.metrics)), highlight=False)
    console.rule("what was reached")
    console.print(_table(lines))
    if wrong := problems(lines):
        raise SystemExit("\n".join(wrong))


def _headrace(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "headrace", *arguments], check=True)


async def _stream(server: Running, console: Console) -> list[Line]:
    async with headrace.connect(server.address) as client:
        newest = {model.name: model for model in await client.models()}  # the last one listed of each name
        lines = []
        for model in newest.values():
            console.print(f"  {model.name}: streaming")
            lines.append(await _line(server, client, model))
    return lines


async def _line(server: Running, client: Client, model: ServedModel) -> Line:
    length = 1 if model.spec.stateful else WHOLE_SEQUENCE
    load = await frames(server.address, model.spec, rows=ROWS, connections=CONNECTIONS, seconds=SECONDS, length=length)
    accuracy = await _accuracy(client, model.spec) if model.name.startswith(SCORED) else None
    cuts, same = await _cut_and_resume(server.address, model.spec) if model.spec.stateful else (0, None)
    return Line(model, load, accuracy, cuts, same)


async def _accuracy(client: Client, spec: ModelSpec) -> float:
    """The test utterances, all at once, one time step after the other where the model has state."""
    from headrace.training.data import vowels

    test = vowels.load("TEST")

    async def last_answer(row: NDArray[np.float32]) -> int:
        if not spec.stateful:
            return int(np.argmax(_only(await client.infer(spec.name, row))))
        async with await client.open(spec.name) as sequence:
            for step in np.split(row, len(row)):
                answer = _only(await sequence.step(step))
        return int(np.argmax(answer[-1]))

    answers = await asyncio.gather(*(last_answer(row) for row in test.rows))
    return float((np.array(answers) == test.labels).mean())


async def _cut_and_resume(address: str, spec: ModelSpec) -> tuple[int, bool]:
    """One sequence through connections that are cut, and the same one through a quiet line: cuts, and whether equal."""
    values = spec.inputs[0].sample(STEPS, np.random.default_rng(1))
    async with (
        proxy(address) as (line, through),
        headrace.connect(through) as shaky,
        headrace.connect(address) as quiet,
    ):
        sequence, twin = await shaky.open(spec.name), await quiet.open(spec.name)
        answers, expected = [], []
        for number, value in enumerate(np.split(values, STEPS)):
            step = asyncio.ensure_future(sequence.step(value))
            if number % CUT_AFTER == CUT_AFTER - 1 and line.cuts < CUTS:
                await asyncio.sleep(0)  # let the step be written, so that its answer is what gets lost
                line.cut()
            answers.append(_only(await step))
            expected.append(_only(await twin.step(value)))
        cuts, same = line.broken, bool(np.array_equal(answers, expected)) and sequence.position == STEPS
        await sequence.close()
        await twin.close()
    return cuts, same


def _only(result: Result) -> NDArray[np.generic]:
    """Of a model with one output."""
    assert isinstance(result, np.ndarray)
    return result


def _shown(url: str) -> list[str]:
    """The lines of /metrics that say most."""
    with urllib.request.urlopen(url) as page:
        lines: list[str] = page.read().decode().splitlines()
    wanted = (
        "headrace_steps_total",
        "headrace_batch_rows_sum",
        "headrace_batch_rows_count",
        "headrace_step_seconds_sum",
    )
    return [line for line in lines if line.startswith(wanted)]


def _table(lines: list[Line]) -> Table:
    heads = ("model", "score", "published", "served", "parity", "steps/s", "p50 ms", "p99 ms", "cut and resumed")
    table = Table(*heads, box=None)
    for line in lines:
        spec, load = line.model.spec, line.load
        score = spec.scores[0]
        table.add_row(
            spec.name,
            f"{score.metric} {score.value:.3f}",
            score.published,
            "" if line.served is None else f"{line.served:.3f}",
            f"{spec.parity.error:.0e}" if spec.parity else "",
            f"{load.rate:,.0f}",
            f"{load.percentile(50) * 1e3:.1f}",
            f"{load.percentile(99) * 1e3:.1f}",
            "stateless" if line.resumed is None else f"{line.cuts} x, {'equal' if line.resumed else 'DIFFERS'}",
        )
    return table


def problems(lines: Sequence[Line]) -> list[str]:
    """What the table says that is not as it should be, or does not say though it should."""
    missing = [f"{task} is not served" for task in TASKS if task not in {line.model.name for line in lines}]
    return missing + [f"{line.model.name}: {problem}" for line in lines for problem in _problems(line)]


def _problems(line: Line) -> Iterator[str]:
    spec = line.model.spec
    if spec.stateful and line.cuts != CUTS:
        yield f"{CUTS} times the connection was to be cut, {line.cuts} times it was"
    if spec.stateful and not line.resumed:
        yield "the resumed sequence differs from the one that was not cut"
    if spec.parity is None:
        yield "the export was not compared with PyTorch"
    if spec.name.startswith(SCORED):
        score = spec.scores[0].value
        if line.served is None or not abs(line.served - score) <= MOST_APART:  # NaN is not close to anything
            yield f"the served accuracy {line.served} is not the score {score:.3f}"
