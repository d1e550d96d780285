"""The family through a real server: several outputs, learned and measured first states, and who has no state at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

import headrace
from headrace.bench.server import Running, serving
from headrace.client import Client
from headrace.errors import InvalidInput
from headrace.export import export_model
from headrace.training.models import Config, RecurrentClassifier, SequenceModel, build

RECURRENT: Config = {"architecture": "recurrent-classifier", "kind": "lstm", "features": 3, "hidden": 6, "layers": 1}
ENCODER: Config = {"architecture": "encoder-classifier", "features": 3, "width": 8, "heads": 2, "layers": 1}
VISION: Config = {"architecture": "vision-transformer", "side": 8, "patch": 2, "levels": 17, "width": 8, "heads": 2}
LABELS = ["a", "b", "c"]
FAMILY: dict[str, Config] = {
    "window": {"architecture": "autoregressive-forecaster", "order": 5},
    "latent": {"architecture": "latent-forecaster", "kind": "gru", "hidden": 6},
    "sampled": {"architecture": "mixture-forecaster", "hidden": 6, "components": 3, "sampled": True},
    "learned": RECURRENT | {"labels": LABELS, "learned": True},
    "both-ways": RECURRENT | {"labels": LABELS, "bidirectional": True},
    "weights": ENCODER | {"labels": LABELS, "weights": True},
    "vision": VISION | {"layers": 1, "labels": LABELS},
}


def made(config: Config) -> SequenceModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(config).eval()
        for start in model.begin.values() if isinstance(model, RecurrentClassifier) else ():
            start.data.normal_()
    return model


MODELS = {name: made(config) for name, config in FAMILY.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Running:
    folder = tmp_path_factory.mktemp("family")
    for name, model in MODELS.items():
        export_model(model, model.describe(name), folder, quick=True, console=Console(quiet=True))
    with serving(folder) as running:
        yield running


def run(server: Running, session: Callable[[Client], Coroutine[None, None, None]]) -> None:
    async def connected() -> None:
        async with headrace.connect(server.address) as client:
            await session(client)

    asyncio.run(asyncio.wait_for(connected(), 30))


def values(name: str) -> NDArray[np.float32]:
    """Of the first input."""
    spec = MODELS[name].describe(name)
    return spec.inputs[0].sample(min(12, spec.chunk.longest), np.random.default_rng(1))


@torch.no_grad()
def eager(name: str) -> dict[str, NDArray[np.float32]]:
    """The whole sequence through the PyTorch model: its outputs by name."""
    x = torch.from_numpy(values(name))
    y, _ = MODELS[name].step(x, torch.tensor([len(x)]), MODELS[name].initial_state(1))
    outputs = MODELS[name].describe(name).outputs
    return {o.name: part.numpy() for o, part in zip(outputs, y if isinstance(y, tuple) else [y], strict=True)}


@pytest.mark.parametrize("name", ["window", "latent", "learned"])
def test_streamed_in_chunks_they_give_what_pytorch_gives(server: Running, name: str) -> None:
    async def session(client: Client) -> None:
        async with await client.open(name) as sequence:
            answers = [await sequence.step(chunk) for chunk in np.split(values(name), [1, 5, 6])]
        for output, wanted in eager(name).items():
            parts = [answer if isinstance(answer, np.ndarray) else answer[output] for answer in answers]
            np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=1e-4, atol=1e-4)

    run(server, session)


@pytest.mark.parametrize("name", ["weights", "vision"])
def test_whole_sequences_give_what_pytorch_gives(server: Running, name: str) -> None:
    async def session(client: Client) -> None:
        answer = await client.infer(name, values(name))
        for output, wanted in eager(name).items():
            got = answer if isinstance(answer, np.ndarray) else answer[output]
            np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4)

    run(server, session)


def test_samples_follow_from_the_seed_and_are_new_at_every_step(server: Running) -> None:
    async def samples(client: Client, seed: int) -> NDArray[np.float32]:
        feed = {"values": values("sampled"), "seed": np.full(12, seed)}
        async with await client.open("sampled") as sequence:
            answers = [
                await sequence.step({name: part[cut] for name, part in feed.items()})
                for cut in (slice(5), slice(5, 12))
            ]
        return np.concatenate([answer["sample"] for answer in answers])

    async def session(client: Client) -> None:
        one, same, other = [await samples(client, seed) for seed in (1, 1, 2)]
        assert np.array_equal(one, same) and not np.isclose(one, other).any()
        feed = torch.from_numpy(values("sampled")), torch.full((12,), 1)
        y, _ = MODELS["sampled"].step(feed, torch.tensor([12]), MODELS["sampled"].initial_state(1))
        np.testing.assert_allclose(one, y[-1].detach().numpy(), rtol=1e-4, atol=1e-4)

    run(server, session)


def test_who_reads_from_both_ends_is_refused_as_a_stream_and_takes_whole_sequences(server: Running) -> None:
    async def session(client: Client) -> None:
        with pytest.raises(InvalidInput, match=r"both-ways has no state, so there is no sequence to open: use infer"):
            await client.open("both-ways")
        answer = await client.infer("both-ways", values("both-ways"))
        assert isinstance(answer, np.ndarray)
        wanted = eager("both-ways")["log_probabilities"]  # [1, classes]
        np.testing.assert_allclose(answer.reshape(1, -1), wanted, rtol=1e-4, atol=1e-4)

    run(server, session)
