"""Strangers' models behind the real server: every sequence gets what it would get alone, whoever shares its batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import headrace
from headrace.client import Client
from headrace.errors import InvalidInput
from headrace.server.app import running
from headrace.server.settings import Settings
from headrace.stream import stream

from .foreign_graphs import ALONE, CELL, CONTEXT, SUM, Array, Stranger

SEQUENCES = 12
H = '{name = "h", input = "h", output = "h_new", axes = '
TOMLS = {
    "sum": (
        SUM,
        f"""
        chunk.longest = 8
        inputs = [{{name = "x", axes = ["batch", "time", 2]}}]
        outputs = [{{name = "y", axes = ["batch", "time", 2]}}]
        states = [{H}[1, "batch", 2], initial = [1.0, 2.0]}}]
        """,
    ),
    "alone": (
        ALONE,
        f"""
        chunk.longest = 8
        inputs = [{{name = "x", axes = ["time"]}}]
        outputs = [{{name = "y", axes = ["time"]}}]
        states = [{H}[3]}}]
        """,
    ),
    "cell": (
        CELL,
        f"""
        chunk.exactly = 1
        inputs = [{{name = "id", tensor = "lengths", axes = ["batch"], vocabulary = 9}}]
        outputs = [{{name = "value", tensor = "out", axes = ["batch", 2]}}]
        states = [{H}["batch", 2]}}]
        """,
    ),
    "context": (
        CONTEXT,
        """
        chunk = {exactly = 4, padded_end = true}
        inputs = [{name = "x", axes = ["batch", "time"], context = 2}]
        outputs = [{name = "y", axes = ["batch", 1]}]
        constants = [{tensor = "rate", value = 10}]
        """,
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    for name, (stranger, toml) in TOMLS.items():
        _place(models / name / "1", stranger, toml)
    return models


def _place(folder: Path, stranger: Stranger, toml: str) -> None:
    folder.mkdir(parents=True)
    onnx.save(stranger.model, folder / "model.onnx")
    (folder / "model.toml").write_text(toml)


def summed(chunks: list[Array]) -> Array:
    return np.array([1, 2]) + np.cumsum(np.concatenate(chunks), axis=0)


def alone(chunks: list[Array]) -> Array:
    totals = np.cumsum([chunk.sum() for chunk in chunks])
    return np.concatenate([chunk + total for chunk, total in zip(chunks, totals, strict=True)])


def counted(chunks: list[Array]) -> Array:
    return np.repeat(np.cumsum(np.concatenate(chunks))[:, None], 2, axis=1).ravel()


def with_context(chunks: list[Array]) -> Array:
    whole = np.concatenate([np.zeros(2), *chunks, np.zeros(-len(chunks[-1]) % 4)])
    return np.array([10 * whole[at : at + 6].sum() for at in range(0, len(whole) - 2, 4)])


def pieces(rng: np.random.Generator, lengths: list[int], *shape: int) -> list[Array]:
    return [rng.integers(0, 9, (length, *shape)).astype(np.float32) for length in lengths]


CASES: dict[str, tuple[Callable[[np.random.Generator], list[Array]], Callable[[list[Array]], Array]]] = {
    "sum": (lambda rng: pieces(rng, rng.integers(1, 4, 6).tolist(), 2), summed),
    "alone": (lambda rng: pieces(rng, rng.integers(1, 4, 6).tolist()), alone),
    "cell": (lambda rng: [piece.astype(np.int64) for piece in pieces(rng, [1] * 6)], counted),
    "context": (lambda rng: pieces(rng, [4, 4, 4, int(rng.integers(1, 5))]), with_context),
}


@pytest.mark.parametrize("model", CASES)
def test_each_of_many_sequences_gets_what_it_would_get_alone(folder: Path, model: str) -> None:
    make, expected = CASES[model]
    rng = np.random.default_rng(0)
    sequences = [make(rng) for _ in range(SEQUENCES)]

    async def streamed(client: Client, chunks: list[Array]) -> Array:
        async with await client.open(model) as sequence:
            steps = [asyncio.ensure_future(sequence.step(chunk)) for chunk in chunks]  # pipelined
            results: list[Any] = await asyncio.gather(*steps)
        return np.concatenate(results)

    async def test() -> None:
        settings = Settings(models=folder, port=0, metrics_port=0, device="cpu", batch_rows=8)
        async with running(settings) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            found = await asyncio.gather(*(streamed(client, chunks) for chunks in sequences))
        for chunks, result in zip(sequences, found, strict=True):
            np.testing.assert_allclose(result, expected(chunks), rtol=1e-5)

    asyncio.run(asyncio.wait_for(test(), 30))


def test_lines_are_gathered_to_the_chunks_that_a_model_takes(folder: Path) -> None:
    async def test() -> str:
        settings, out = Settings(models=folder, port=0, metrics_port=0, device="cpu"), StringIO()
        async with running(settings) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            await stream("context", StringIO("1\n" * 5 + "\n" + "2\n" * 4), client, out)
        return out.getvalue()

    assert asyncio.run(asyncio.wait_for(test(), 30)).split() == ["40", "30", "80"]


def test_what_a_spec_says_reaches_the_client(folder: Path) -> None:
    async def test() -> None:
        settings = Settings(models=folder, port=0, metrics_port=0, device="cpu")
        async with running(settings) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            spec = (await client.find("context")).spec
            assert (spec.chunk.exactly, spec.chunk.padded_end, spec.stateful) == (4, True, True)
            async with await client.open("cell") as sequence:
                with pytest.raises(InvalidInput, match="token id outside 0 to 8"):
                    await sequence.step([9])
                with pytest.raises(InvalidInput, match="cannot hold all numbers"):
                    await sequence.step([2**40])

    asyncio.run(asyncio.wait_for(test(), 30))
