"""Models with caches through a real server: whatever the cuts and the company, a sequence gets what it gets alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import headrace
from headrace.bench.server import serving
from headrace.client import Client
from headrace.contract import with_spec
from headrace.errors import InvalidInput, SequenceFull
from headrace.export.decode import START
from headrace.export.start import encoder_of
from headrace.export.trace import to_onnx
from headrace.spec import ModelSpec, Parity
from headrace.training.models import CharacterModel, SequenceModel
from headrace.training.models.translator import StartedModel

from .export.decoders import decoder, strained, translator, windowed

Ids = NDArray[np.int64]
ROWS = 4  # in a batch: fewer than the sequences of most tests, so that rows come and go
LETTERS = "abcdef"
MODELS: dict[str, SequenceModel] = {
    "decoder": decoder(),
    "windowed": windowed(),
    "translator": translator(),
    "recurrent": strained(CharacterModel(LETTERS, 8, 12)),
}
CUTS = st.lists(st.integers(1, 39), max_size=8, unique=True).map(sorted)


Session = Callable[[Client], Coroutine[None, None, None]]
Run = Callable[[Session], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs sessions of a client of one server, all on one event loop."""
    folder = tmp_path_factory.mktemp("attention")
    for name, model in MODELS.items():
        place(folder / name / "1", model, model.describe(name))
    with serving(folder, ["--batch-rows", str(ROWS), "--lanes", "1"]) as server, asyncio.Runner() as runner:
        yield lambda session: runner.run(asyncio.wait_for(connected(server.address, session), 60))


def place(folder: Path, model: SequenceModel, spec: ModelSpec) -> None:
    """The model's files. Their parity, which lets long steps be cut, is what the tests here prove."""
    folder.mkdir(parents=True)
    proven = spec.model_copy(update={"parity": Parity(error=0.0, cases=1)})
    onnx.save(with_spec(to_onnx(model, spec), proven), folder / "model.onnx")
    if spec.start is not None:
        started = spec.started()
        onnx.save(with_spec(to_onnx(encoder_of(model), started), started), folder / START)


async def connected(address: str, session: Session) -> None:
    async with headrace.connect(address) as client:
        await session(client)


def ids(name: str, count: int, seed: int = 0) -> Ids:
    vocabulary = MODELS[name].describe(name).inputs[0].vocabulary
    assert vocabulary is not None
    return np.random.default_rng(seed).integers(0, vocabulary, count)


def parts(name: str, tokens: Ids, cuts: list[int]) -> list[Ids]:
    """Cut there, and wherever a part would be longer than a step may be."""
    longest = MODELS[name].describe(name).chunk.longest
    return [p[at : at + longest] for p in np.split(tokens, cuts) for at in range(0, len(p), longest)]


@torch.no_grad()
def eager(name: str, tokens: Ids, source: Ids | None = None) -> NDArray[np.float32]:
    """The whole sequence, alone, through the PyTorch model: logits [time, vocabulary]."""
    model = MODELS[name]
    if source is None:
        state = model.initial_state(1)
    else:
        assert isinstance(model, StartedModel)
        state = model.start(torch.from_numpy(source), torch.tensor([len(source)]))
    y, _ = model.step(torch.from_numpy(tokens), torch.tensor([len(tokens)]), state)
    logits: NDArray[np.float32] = y.numpy()
    return logits


def close_to(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["decoder", "windowed"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(all_cuts=st.lists(CUTS, min_size=1, max_size=7))
def test_split_anywhere_and_in_any_company_a_sequence_gets_what_it_gets_alone(
    run: Run, name: str, all_cuts: list[list[int]]
) -> None:
    async def one(client: Client, number: int, cuts: list[int]) -> None:
        tokens = ids(name, 40, number)
        async with await client.open(name) as sequence:
            answers = [await sequence.step(chunk) for chunk in parts(name, tokens, cuts)]
        close_to(np.concatenate(answers), eager(name, tokens))

    async def session(client: Client) -> None:
        await asyncio.gather(*(one(client, number, cuts) for number, cuts in enumerate(all_cuts)))

    run(session)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(all_cuts=st.lists(st.tuples(st.integers(1, 24), CUTS), min_size=1, max_size=7))
def test_a_translation_s_steps_see_their_own_source(run: Run, all_cuts: list[tuple[int, list[int]]]) -> None:
    name = "translator"

    async def one(client: Client, number: int, length: int, cuts: list[int]) -> None:
        source = np.random.default_rng(100 + number).integers(0, 5, length)
        tokens = ids(name, 20, number)
        async with await client.open(name, source=source) as sequence:
            answers = [await sequence.step(chunk) for chunk in np.split(tokens, [c for c in cuts if c < 20])]
        close_to(np.concatenate(answers), eager(name, tokens, source))

    async def session(client: Client) -> None:
        await asyncio.gather(*(one(client, number, *cuts) for number, cuts in enumerate(all_cuts)))

    run(session)


@pytest.mark.parametrize("name", ["decoder", "windowed", "recurrent"])
def test_forks_go_on_as_if_each_had_come_all_the_way_itself(run: Run, name: str) -> None:
    prompt, ends = ids(name, 17), [ids(name, 3, seed) for seed in range(1, 6)]

    async def session(client: Client) -> None:
        async with await client.open(name) as sequence:
            for chunk in parts(name, prompt, []):
                await sequence.step(chunk)
            forks = await sequence.fork(4)
            answers = await asyncio.gather(*(s.step(end) for s, end in zip([sequence, *forks], ends, strict=True)))
            for end, answer in zip(ends, answers, strict=True):
                close_to(answer, eager(name, np.concatenate([prompt, end]))[17:])
            await asyncio.gather(*(fork.close() for fork in forks))

    run(session)


def test_a_full_cache_is_one_row_s_error_and_the_sequence_stands(run: Run) -> None:
    tokens = ids("decoder", 40)

    async def session(client: Client) -> None:
        async with await client.open("decoder") as full, await client.open("decoder") as other:
            await full.step(tokens[:39])
            with pytest.raises(SequenceFull, match="at most 40 time steps"):
                await asyncio.gather(full.step(tokens[:2]), other.step(tokens[:2]))
            close_to(await full.step(tokens[39:]), eager("decoder", tokens)[39:])
            assert other.position == 2

    run(session)


def test_a_window_slides_for_ever(run: Run) -> None:
    tokens = ids("windowed", 300)

    async def session(client: Client) -> None:
        async with await client.open("windowed") as sequence:
            answers = [await sequence.step(chunk) for chunk in parts("windowed", tokens, [1, 50, 51, 121, 290])]
        close_to(np.concatenate(answers), eager("windowed", tokens))

    run(session)


def likeliest(name: str, prompt: Ids, text: Sequence[int], source: Ids | None = None) -> bool:
    """Whether each token of the text is the likeliest behind those before it, up to ties."""
    logits = eager(name, np.append(prompt, text).astype(np.int64), source)[len(prompt) - 1 :]
    chosen = np.take_along_axis(logits[:-1], np.array(text, np.int64)[:, None], 1)[:, 0]
    return bool((chosen >= logits[:-1].max(1) - 1e-4).all())


@pytest.mark.parametrize("name", ["decoder", "windowed", "recurrent"])
def test_written_texts_are_the_likeliest_ones(run: Run, name: str) -> None:
    prompts = [ids(name, 1 + 3 * number, number) for number in range(7)]

    async def session(client: Client) -> None:
        texts = await client.write(name, [prompt.tolist() for prompt in prompts], max_tokens=12)
        for prompt, text in zip(prompts, texts, strict=True):
            assert len(text.tokens) == 12 and likeliest(name, prompt, text.tokens)
            assert text.text == "".join(LETTERS[token] for token in text.tokens)

    run(session)


def test_a_draw_is_the_same_whoever_shares_the_batch(run: Run) -> None:
    how = {"temperature": 1.0, "top_k": 4, "top_p": 0.95, "repetition_penalty": 1.1, "seed": 5, "max_tokens": 20}

    async def session(client: Client) -> None:
        (alone,) = await client.write("decoder", "abc", **how)
        crowd = asyncio.gather(*(client.write("decoder", "fed", copies=3, **(how | {"seed": s})) for s in range(5)))
        (together,) = await client.write("decoder", "abc", **how)
        others = await crowd
        assert together.tokens == alone.tokens
        assert len({text.tokens for texts in others for text in texts}) > 10  # copies and seeds differ

    run(session)


def test_sources_are_translated_in_one_call_each_to_its_own_end(run: Run) -> None:
    rng = np.random.default_rng(3)
    sources = ["".join("abcde"[letter] for letter in rng.integers(0, 5, rng.integers(1, 20))) for _ in range(30)]

    async def session(client: Client) -> None:
        texts = await client.write("translator", source=sources, max_tokens=15)
        for source, text in zip(sources, texts, strict=True):
            letters = np.array(["abcde".index(letter) for letter in source])
            ended = text.ending == "end"
            assert ended or len(text.tokens) == 15
            assert likeliest("translator", np.zeros(1, np.int64), [*text.tokens, *[0] * ended], letters)

    run(session)


def test_what_a_model_cannot_take_is_told(run: Run) -> None:
    async def session(client: Client) -> None:
        with pytest.raises(InvalidInput, match="begins with a source"):
            await client.open("translator")
        with pytest.raises(InvalidInput):
            await client.write("decoder", "xyz", max_tokens=3)

    run(session)
