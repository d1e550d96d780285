"""Silero VAD, a model that somebody else made, on real speech through the real server: the same as its own wrapper."""

from __future__ import annotations

import asyncio
import lzma
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

import headrace
from headrace.adopt import adopt_file
from headrace.client import Client
from headrace.errors import InvalidInput
from headrace.server.app import running
from headrace.server.batch import Batch
from headrace.server.engine import OnnxEngine
from headrace.server.repository import read
from headrace.server.settings import Settings

CHUNK, CONTEXT, RATE = 512, 64, 16_000
OTHERS = 64

SPEECH = Path(__file__).with_name("data") / "goforward.raw.xz"
DOCUMENT = Path(__file__).parents[1] / "docs" / "adopt.md"


@pytest.fixture(scope="module")
def silero() -> Path:
    """The package's own file; its code is not imported, since it would want more than the file."""
    package = find_spec("silero_vad")
    assert package is not None and package.submodule_search_locations is not None, "pip install '.[dev]'"
    return Path(package.submodule_search_locations[0]) / "data" / "silero_vad.onnx"


@pytest.fixture(scope="module")
def folder(silero: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Silero with the `model.toml` of the document."""
    models = tmp_path_factory.mktemp("models")
    place = models / "silero" / "1"
    place.mkdir(parents=True)
    shutil.copy(silero, place / "model.onnx")
    (block,) = re.findall(r"^```toml\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (place / "model.toml").write_text(block)
    return models


@pytest.fixture(scope="module")
def whole(silero: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's second file, served as drafted: without batch axis; a time step is a chunk behind its context."""
    models = tmp_path_factory.mktemp("whole")
    place = models / "silero-sequence" / "1"
    place.mkdir(parents=True)
    shutil.copy(silero.with_name("silero_vad_16k_sequence.onnx"), place / "model.onnx")
    draft = adopt_file(place / "model.onnx", Console(quiet=True))
    draft.write_text(draft.read_text().replace("# longest", "longest"))
    return models


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """[samples] in -1 to 1."""
    return np.frombuffer(lzma.decompress(SPEECH.read_bytes()), "<i2").astype(np.float32) / 32768


@pytest.fixture(scope="module")
def wanted(silero: Path, speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """[chunks] probabilities as the package's wrapper computes them: one row, context before, zeros behind."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(silero.read_bytes(), options, providers=["CPUExecutionProvider"])
    state, before = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    found = []
    for chunk in np.pad(speech, (0, -len(speech) % CHUNK)).reshape(-1, CHUNK):
        feed = {"input": np.concatenate([before, chunk])[None], "state": state, "sr": np.array(RATE, np.int64)}
        y, state = session.run(["output", "stateN"], feed)
        before = chunk[-CONTEXT:]
        found.append(y[0, 0])
    return np.array(found, np.float32)


def served(folder: Path) -> Settings:
    return Settings(models=folder, port=0, metrics_port=0, device="cpu", batch_rows=OTHERS + 1, sequences=OTHERS + 1)


async def streamed(client: Client, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """[chunks]; the last one as short as it is."""
    async with await client.open("silero") as sequence:
        return np.concatenate([await sequence.step(samples[at : at + CHUNK]) for at in range(0, len(samples), CHUNK)])


def largest_batch(page: str) -> float:
    """The least bound of the histogram of a batch's rows under which all batches lie."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name == "headrace_batch_rows_bucket"]
    return min(bound for bound, below in buckets if below == max(value for _, value in buckets))


def test_the_reference_is_what_is_known_of_this_file(wanted: NDArray[np.float32]) -> None:
    first = [0.042505, 0.016253, 0.011800, 0.007730, 0.008608, 0.006061, 0.006215, 0.020125]
    np.testing.assert_allclose(wanted[:8], first, atol=1e-6)
    assert wanted[16] == pytest.approx(0.90116, abs=1e-5)
    assert (len(wanted), (wanted > 0.5).sum()) == (88, 54)
    assert wanted.sum() == pytest.approx(53.56147, abs=1e-4)


def test_speech_streams_as_through_its_own_wrapper(
    folder: Path, speech: NDArray[np.float32], wanted: NDArray[np.float32]
) -> None:
    async def test() -> None:
        async with running(served(folder)) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            np.testing.assert_allclose(await streamed(client, speech), wanted, atol=1e-4)

    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.fixture(scope="module")
def crowd(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """[1 + OTHERS, samples]: the speech, and others of its length, shifted and softer."""
    shifts = np.random.default_rng(0).uniform((0, 0.2), (40_000, 1), (OTHERS, 2))
    return np.stack([speech, *(np.roll(speech, int(shift)) * np.float32(gain) for shift, gain in shifts)])


def test_speech_is_the_same_with_64_others_in_every_batch(
    folder: Path, crowd: NDArray[np.float32], wanted: NDArray[np.float32]
) -> None:
    graph, spec = read(folder / "silero" / "1" / "model.onnx")
    rows, found = len(crowd), []
    engine = OnnxEngine(graph, spec, 2 * rows, "CPU")
    here, there = np.arange(rows), np.arange(rows, 2 * rows)  # slots: read from one half, written to the other
    for start in range(0, crowd.shape[1], CHUNK):
        chunks = crowd[:, start : start + CHUNK]  # the last ones are shorter
        lengths, fresh = np.full(rows, chunks.shape[1], np.int64), np.full(rows, start == 0)
        outcome = engine.run(Batch((chunks.ravel(),), lengths, here, there, fresh))
        found.append(outcome.outputs.cells[0][0, 0])
        here, there = there, here
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_speech_streams_the_same_among_64_others(
    folder: Path, crowd: NDArray[np.float32], wanted: NDArray[np.float32]
) -> None:
    async def test() -> str:
        async with running(served(folder)) as app:
            async with headrace.connect(f"127.0.0.1:{app.port}") as client:
                found, *_ = await asyncio.gather(*(streamed(client, row) for row in crowd))
            np.testing.assert_allclose(found, wanted, atol=1e-4)
            with await asyncio.to_thread(urlopen, f"http://127.0.0.1:{app.metrics_port}/metrics") as page:
                return str(page.read().decode())

    assert largest_batch(asyncio.run(asyncio.wait_for(test(), 120))) > 1  # how many share one is a matter of timing


def test_a_file_without_batch_axis_serves_several_sequences_in_turn(
    whole: Path, speech: NDArray[np.float32], wanted: NDArray[np.float32]
) -> None:
    padded = np.pad(speech, (CONTEXT, -len(speech) % CHUNK))
    steps = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + CHUNK)[::CHUNK]  # [chunks, 576]

    async def streamed(client: Client, cuts: list[int]) -> NDArray[np.float32]:
        async with await client.open("silero-sequence") as sequence:
            return np.concatenate([await sequence.step(part) for part in np.split(steps, cuts)])

    async def test() -> None:
        settings = Settings(models=whole, port=0, metrics_port=0, device="cpu")
        async with running(settings) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            cuts = [[], [1, 2, 40], [17], list(range(1, len(steps)))]
            for found in await asyncio.gather(*(streamed(client, places) for places in cuts)):
                np.testing.assert_allclose(found, wanted, atol=1e-4)

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_sequence_ends_with_its_shorter_chunk(folder: Path, speech: NDArray[np.float32]) -> None:
    async def test(client: Client) -> None:
        async with await client.open("silero") as sequence:
            with pytest.raises(InvalidInput, match="takes steps of exactly 512 time steps; only the last"):
                await sequence.step(speech[:513])
            await sequence.step(speech[:512])
            await sequence.step(speech[512:600])
            assert sequence.position == 600
            with pytest.raises(InvalidInput, match="the sequence has ended"):
                await sequence.step(speech[600:1112])
            await sequence.reset()
            assert (await sequence.step(speech[:512])).shape == (1,)

    async def line() -> None:
        async with running(served(folder)) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            await test(client)

    asyncio.run(asyncio.wait_for(line(), 60))
