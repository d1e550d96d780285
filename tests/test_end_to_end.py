"""The whole line as a user runs it: trained, exported and served by commands, in processes of their own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import headrace
from headrace import training
from headrace.bench.proxy import proxy
from headrace.bench.server import serving
from headrace.training.data import vowels

MODEL = "vowels-gru"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/ and models/, made by the command line with the shortest budget."""
    folder = tmp_path_factory.mktemp("line")
    command(folder, "train", MODEL, "--quick")
    command(folder, "export", f"runs/{MODEL}/checkpoint.pt")
    return folder


def command(folder: Path, *arguments: str) -> str:
    run = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True, timeout=120).stdout


def eager(folder: Path, row: NDArray[np.float32]) -> NDArray[np.float32]:
    """The whole sequence through the trained PyTorch model: [time, classes]."""
    model, _ = training.load(folder / "runs" / MODEL / "checkpoint.pt")
    with torch.no_grad():
        y, _ = model.step(torch.from_numpy(row), torch.tensor([len(row)]), model.initial_state(1))
    return y.numpy()


def test_every_streamed_answer_equals_eager_pytorch(trained: Path) -> None:
    rows = vowels.load("TEST").rows[::12]
    rng = np.random.default_rng(0)

    async def streamed(client: headrace.client.Client, row: NDArray[np.float32]) -> NDArray[np.float32]:
        cuts = np.sort(rng.choice(np.arange(1, len(row)), rng.integers(0, len(row)), replace=False))
        async with await client.open(MODEL) as sequence:
            answers = [await sequence.step(chunk) for chunk in np.split(row, cuts)]
            assert sequence.position == len(row)
        return np.concatenate(answers)

    async def test(address: str) -> None:
        async with proxy(address) as (line, through), headrace.connect(through) as client:
            work = [asyncio.ensure_future(streamed(client, row)) for row in rows]
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            line.cut()  # whoever is under way resumes, and nobody may notice
            for row, answer in zip(rows, await asyncio.gather(*work), strict=True):
                np.testing.assert_allclose(answer, eager(trained, row), rtol=1e-4, atol=1e-4)

    with serving(trained / "models") as server:
        asyncio.run(asyncio.wait_for(test(server.address), 60))
        with urllib.request.urlopen(server.metrics) as page:
            text = page.read().decode()
        steps = [line for line in text.splitlines() if line.startswith("headrace_tokens_total")]
        assert float(steps[0].split()[-1]) == sum(map(len, rows))  # each time step was applied exactly once


def test_the_command_line_streams_lists_and_stops(trained: Path) -> None:
    row = vowels.load("TEST").rows[0]
    (trained / "values.csv").write_text("\n".join(",".join(map(str, step)) for step in row.tolist()) + "\n")
    with serving(trained / "models") as server:
        listed = command(trained, "models", "--address", server.address)
        assert MODEL in listed and "stateful" in listed
        printed = command(trained, "stream", MODEL, "values.csv", "--address", server.address)
        labels = [vowels.LABELS[i] for i in eager(trained, row).argmax(axis=1)]
        assert [line.split()[0] for line in printed.splitlines()] == labels
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
