"""Texts, forks and sources through a real server with two lanes, against a plain loop over the same graphs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import headrace
from headrace.bench.server import Running, serving
from headrace.cli import main
from headrace.client import Client, Ending
from headrace.contract import with_spec
from headrace.errors import InvalidInput, SequenceFull, Unavailable
from headrace.export.decode import generate, likeliest
from headrace.export.trace import to_onnx
from headrace.server.app import running
from headrace.server.settings import Settings
from headrace.spec import ModelSpec

from .export import decoders
from .export.decoders import LETTERS, PHONES
from .models import untrained

SYMBOLS = "abcdef"
PROMPTS = ["abc", "f", "dcbaabcd", "ee", "fabcdeffa"]
WORDS = ["abc", "d", "edcba", "bb", "aeaeae", "c", "deed"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models tiny-lm (a GRU), decoder, and translator (with a start graph)."""
    made, gru = tmp_path_factory.mktemp("texts"), untrained()["tiny-lm"]
    decoder, translator = decoders.decoder().describe("decoder"), decoders.translator().describe("translator")
    write(made / "tiny-lm/1/model.onnx", to_onnx(gru, gru.describe("tiny-lm")), gru.describe("tiny-lm"))
    write(made / "decoder/1/model.onnx", decoders.decoder_graph(), decoder)
    write(made / "translator/1/model.onnx", decoders.translator_graph(), translator)
    write(made / "translator/1/start.onnx", decoders.start_graph(), translator.started())
    return made


def write(file: Path, graph: onnx.ModelProto, spec: ModelSpec) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(with_spec(graph, spec).SerializeToString())


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with serving(folder, ["--lanes", "2"]) as running:
        yield running


def run(server: Running, session: Callable[[Client], Coroutine[None, None, None]]) -> None:
    async def connected() -> None:
        async with headrace.connect(server.address) as client:
            await session(client)

    asyncio.run(asyncio.wait_for(connected(), 60))


def ids(text: str, symbols: str = SYMBOLS) -> NDArray[np.int64]:
    return np.array([symbols.index(c) for c in text], np.int64)


def greedy(prompt: str, steps: int) -> str:
    """The plain loop's text, of one sequence alone."""
    tokens = generate(decoders.decoder_loop().open(1), [ids(prompt)], steps, likeliest)
    return "".join(SYMBOLS[token] for token in np.asarray(tokens).ravel()[-steps:])


def test_greedy_texts_are_those_of_a_plain_loop(server: Running) -> None:
    async def test(client: Client) -> None:
        texts = await client.write("decoder", PROMPTS, max_tokens=20)
        assert [text.text for text in texts] == [greedy(prompt, 20) for prompt in PROMPTS]
        assert {text.ending for text in texts} == {Ending.MOST}
        assert all(text.text == "".join(SYMBOLS[token] for token in text.tokens) for text in texts)

    run(server, test)


@pytest.mark.parametrize("model", ["decoder", "tiny-lm"])
def test_a_seed_gives_the_same_text_whatever_else_is_written(server: Running, model: str) -> None:
    async def test(client: Client) -> None:
        how = {"max_tokens": 24, "temperature": 1.5, "top_k": 5, "top_p": 0.95, "repetition_penalty": 1.1}
        alone = [await client.write(model, "abc", seed=seed, **how) for seed in range(3)]  # type: ignore[arg-type]
        crowd = [client.write(model, ["abc", *PROMPTS], seed=seed, copies=2, **how) for seed in range(3)]  # type: ignore[arg-type]
        for (text,), among in zip(alone, await asyncio.gather(*crowd), strict=True):
            assert among[0].text == text.text and among[1].text != text.text
        assert len({text.text for (text,) in alone}) == 3
        (text,) = alone[0]
        begun = [*ids("abc", "abcdefghijk"), *text.tokens[:10]]
        (rest,) = await client.write(model, begun, seed=0, **{**how, "max_tokens": 14})  # type: ignore[arg-type]
        assert rest.tokens == text.tokens[10:]

    run(server, test)


def test_texts_end_as_they_are_asked_to(server: Running) -> None:
    async def test(client: Client) -> None:
        whole = greedy("abc", 38)  # the last token is chosen when 40 have been read, and no more can be
        (full,) = await client.write("decoder", "abc")
        assert (full.text, full.ending) == (whole, Ending.FULL)
        stop = whole[10:12]
        (stopped,) = await client.write("decoder", "abc", stop=["zz", stop])
        assert (stopped.text, stopped.ending) == (whole[: whole.index(stop)], Ending.STOP)
        (late,) = await client.write("tiny-lm", "abc", max_tokens=10_000_000, timeout=0.2)
        assert late.ending is Ending.LATE and 0 < len(late.tokens) < 10_000_000
        with pytest.raises(InvalidInput, match="takes 40"):
            await client.write("decoder", [0] * 41)
        failed, fine = await client.write("decoder", ["a?", "a"], max_tokens=1)
        assert isinstance(failed.error, InvalidInput) and fine.ending is Ending.MOST

    run(server, test)


def test_words_are_read_once_each_and_translated_together(server: Running) -> None:
    async def test(client: Client) -> None:
        texts = await client.write("translator", source=WORDS, max_tokens=12)
        for word, text in zip(WORDS, texts, strict=True):
            begun = decoders.translator_loop().begin([ids(word, LETTERS)])
            tokens = np.asarray(generate(begun, [np.zeros(1, np.int64)], 12, likeliest)).ravel()[-12:].tolist()
            wanted = tokens[: tokens.index(0)] if 0 in tokens else tokens
            assert text.text == " ".join(PHONES[token] for token in wanted)
            assert text.ending is (Ending.END if 0 in tokens else Ending.MOST)

    run(server, test)


def test_forks_go_on_from_where_their_source_stands(server: Running) -> None:
    async def test(client: Client) -> None:
        text, loop = ids("abcdefabc"), decoders.decoder_loop()
        source = await client.open("decoder")
        await source.step(text[:6])
        first, second = await source.fork(2)
        await source.step(text[6:7])
        answers = [await first.step(text[6:]), await second.step(text[:3]), await source.step(text[7:])]
        whole, other = loop.open(1).step([text]), loop.open(1).step([np.concatenate([text[:6], text[:3]])])
        for answer, wanted in zip(answers, (whole[6:], other[6:], whole[7:]), strict=True):
            np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-4)
        (again,) = await first.fork()
        assert again.position == 9
        await source.close()
        with pytest.raises(SequenceFull):
            await again.step(np.zeros(32, np.int64))

    run(server, test)


def test_a_sequence_with_a_source_can_be_stepped_forked_and_begun_anew(server: Running) -> None:
    async def test(client: Client) -> None:
        sequence, tokens = await client.open("translator", source="abc"), np.array([0, 2, 1])
        wanted = decoders.translator_loop().begin([ids("abc", LETTERS)]).step([tokens])
        np.testing.assert_allclose(await sequence.step(tokens), wanted, rtol=1e-4, atol=1e-4)
        await sequence.reset()
        await sequence.step(tokens[:1])
        (fork,) = await sequence.fork()
        await sequence.close()
        np.testing.assert_allclose(await fork.step(tokens[1:]), wanted[1:], rtol=1e-4, atol=1e-4)
        with pytest.raises(InvalidInput, match="source"):
            await client.open("translator")

    run(server, test)


def test_a_text_that_nobody_waits_for_frees_its_row(folder: Path) -> None:
    async def test() -> None:
        settings = Settings(models=folder, port=0, metrics_port=0, lanes=1)
        async with running(settings) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            async with aclosing(client.generate("tiny-lm", "abc", max_tokens=10_000_000, copies=3)) as coming:
                await anext(coming)
            model = app.models.find("tiny-lm")
            await model.answered()
            assert not len(model.lanes[0].state.sequences)

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_server_that_stops_ends_texts_that_it_cannot_wait_for(folder: Path) -> None:
    async def test() -> None:
        settings = Settings(models=folder, port=0, metrics_port=0, lanes=1, drain_seconds=0.1)
        async with running(settings) as app:
            client = await headrace.connect(f"127.0.0.1:{app.port}").__aenter__()
            endless = client.generate("tiny-lm", "abc", max_tokens=10_000_000)
            await anext(endless)
        with pytest.raises(Unavailable, match="shutting down"):
            async for piece in endless:
                assert piece.ending is None
        await client.__aexit__(None, None, None)

    asyncio.run(asyncio.wait_for(test(), 60))


def test_the_command_line_writes(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("generate", "decoder", "abc", "--max-tokens", "9", "--address", server.address)
    assert capsys.readouterr().out == f"abc{greedy('abc', 9)}\n"
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n")
    main_of("generate", "translator", "--sources", str(tmp_path / "words.txt"), "--address", server.address)
    assert len(capsys.readouterr().out.splitlines()) == len(WORDS)


def test_a_text_is_interrupted_without_a_word(server: Running) -> None:
    asked = ["generate", "tiny-lm", "abc", "--max-tokens", "10000000", "--address", server.address]
    command = [sys.executable, "-m", "headrace", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read(20).startswith("abc")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "")


def main_of(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
