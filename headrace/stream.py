"""`headrace stream`: lines of CSV or text in, results out as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from threading import Semaphore, Thread
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from headrace.client import Client, Result, Sequence, ServedModel

from .errors import InvalidInput
from .spec import Input, ModelSpec, Output, Text

#: Names of outputs whose softmax gives the probabilities of the classes.
SCORES = ("logits", "log_probabilities")


async def stream(model: str, source: TextIO, client: Client, out: TextIO) -> None:
    """Models of text read characters; others read CSV, one time step a line, and a blank line ends a sequence.

    Writes one line to `out` for each time step (of a model without state: for each sequence): the likeliest label
    where the output has labels, the likeliest next character for models of text, else the numbers. The likeliest has
    its probability beside it if the output's name says what its numbers are (see SCORES).
    Raises InvalidInput for a line that the model cannot take, and what the client raises.
    """
    served = await client.find(model)
    spec = served.spec
    if len(spec.inputs) != 1:
        raise InvalidInput(f"the model {model} has several inputs; CSV and text carry one. Use the client instead")
    if not spec.stateful:
        return await _whole(served, _lines(source), client, out)
    async with await client.open(model) as sequence:
        if spec.text is not None:
            return await _characters(sequence, spec.text, _lines(source), out)
        return await _rows(sequence, _lines(source), out)


async def _rows(sequence: Sequence, lines: AsyncIterator[str], out: TextIO) -> None:
    """Each line is a step; of a model that takes exactly n time steps, n lines are, or at the end what is left."""
    many, waiting = sequence.spec.chunk.exactly or 1, list[NDArray[np.generic]]()

    async def step() -> None:
        if waiting:
            _write(out, _described(sequence.spec, await sequence.step(np.concatenate(waiting))))
            waiting.clear()

    async for line in lines:
        if line.strip():
            waiting.append(_parsed(line, sequence.spec.inputs[0]))
        if len(waiting) == many or not line.strip():
            await step()
        if not line.strip() and sequence.position:
            await sequence.reset()
    await step()


async def _whole(served: ServedModel, lines: AsyncIterator[str], client: Client, out: TextIO) -> None:
    """Without a state, a sequence is one row: it goes out when it has ended, to the version whose spec we read."""
    async for rows in _blocks(lines, served.spec.inputs[0]):
        _write(out, _described(served.spec, await client.infer(served.name, rows, version=served.version)))


async def _characters(sequence: Sequence, text: Text, lines: AsyncIterator[str], out: TextIO) -> None:
    async for line in lines:
        read = line if "\n" in text.symbols else line.rstrip("\n")
        for start in range(0, len(read), sequence.spec.chunk.longest):
            chunk = read[start : start + sequence.spec.chunk.longest]
            result = await sequence.step(_ids(chunk, text))
            _write(out, _next_characters(chunk, sequence.spec.outputs[0], _first(result), text))


async def _blocks(lines: AsyncIterator[str], wanted: Input) -> AsyncIterator[NDArray[np.generic]]:
    """Sequences [time, *shape], separated by blank lines."""
    rows: list[NDArray[np.generic]] = []
    async for line in lines:
        if line.strip():
            rows.append(_parsed(line, wanted))
        elif rows:
            yield np.concatenate(rows)
            rows = []
    if rows:
        yield np.concatenate(rows)


async def _lines(source: TextIO) -> AsyncIterator[str]:
    """Read by a thread, since a terminal or pipe may block for ever; a daemon, so that Ctrl-C need not wait for it.

    Raises InvalidInput if `source` cannot be read, as text or at all.
    """
    ahead, lines = Semaphore(64), asyncio.Queue[str | Exception]()
    loop = asyncio.get_running_loop()

    def tell(line: str | Exception) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    Thread(target=_read, args=(source, ahead, tell), daemon=True).start()
    while line := await lines.get():
        if isinstance(line, Exception):
            raise InvalidInput(f"the input cannot be read: {line}") from line
        ahead.release()
        yield line


def _read(source: TextIO, ahead: Semaphore, tell: Callable[[str | Exception], object]) -> None:
    """Tells line after line, and an empty one at the end, at most so many ahead of the reader as it allows."""
    line = "\n"
    with suppress(RuntimeError):  # the event loop is gone, and with it who wanted the lines
        while line and ahead.acquire():
            try:
                line = source.readline()
            except (OSError, ValueError) as error:
                tell(error)
                return
            tell(line)


def _parsed(line: str, wanted: Input) -> NDArray[np.generic]:
    """One time step, [1, *shape]."""
    try:
        number = float if np.dtype(wanted.dtype).kind == "f" else int
        return np.array([number(cell) for cell in line.split(",")], wanted.dtype).reshape(1, *wanted.shape)
    except (ValueError, OverflowError):
        needs = int(np.prod(wanted.shape))
        raise InvalidInput(
            f"a line needs {needs} numbers ({wanted.dtype}), separated by commas, got: {line.strip()!r}"
        ) from None


def _ids(chunk: str, text: Text) -> NDArray[np.int64]:
    """[time] token ids."""
    ids = {symbol: token for token, symbol in enumerate(text.symbols)}
    unknown = sorted(set(chunk) - ids.keys())
    if unknown:
        raise InvalidInput(f"the model does not know the characters {unknown}; it knows {''.join(text.symbols)!r}")
    return np.array([ids[c] for c in chunk], np.int64)


def _next_characters(chunk: str, output: Output, scores: NDArray[np.generic], text: Text) -> Iterator[str]:
    """scores: [time, symbols]."""
    symbols = tuple(map(repr, text.symbols))
    for character, row in zip(chunk, scores, strict=True):
        yield f"{character!r}\t{_likeliest(output, symbols, row)}"


def _described(spec: ModelSpec, result: Result) -> Iterator[str]:
    for output in spec.outputs:
        values = result[output.name] if isinstance(result, dict) else result
        for row in values if output.time else [values]:  # row: [*shape]
            yield _line(output, np.asarray(row))


def _line(output: Output, row: NDArray[np.generic]) -> str:
    if not output.labels:
        return ",".join(f"{cell:.6g}" for cell in row.ravel().tolist())
    return _likeliest(output, output.labels, row)


def _likeliest(output: Output, names: tuple[str, ...], row: NDArray[np.generic]) -> str:
    """row: [classes]. The name of the best class, and its probability where that is known."""
    scores = row.astype(np.float64)
    best = int(scores.argmax())
    if output.name not in SCORES:
        return names[best]
    return f"{names[best]}\t{1 / np.exp(scores - scores[best]).sum():.3f}"


def _first(result: Result) -> NDArray[np.generic]:
    return next(iter(result.values())) if isinstance(result, dict) else result


def _write(out: TextIO, lines: Iterator[str]) -> None:
    for line in lines:
        out.write(line + "\n")
    out.flush()
