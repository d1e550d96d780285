"""Texts from a scripted server: what is asked, what comes, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from headrace.client import Client, Ending, Piece
from headrace.client.prompts import request
from headrace.errors import HeadraceError, InvalidInput, ModelFailed, Overloaded, Unavailable, UnknownModel
from headrace.protos import sequences_pb2 as pb

from .fake import FakeServer
from .running import served
from .specs import LETTERS, TRANSLATOR
from .told import Cell, reply


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


FAILURE = pb.Error(code=pb.MODEL_FAILED, message="not finite")


def cell(prompt: int, text: str, ending: pb.Ending = pb.NOT_ENDED) -> Cell:
    tokens = [LETTERS.text.symbols.index(c) for c in text]  # type: ignore[union-attr]
    return Cell(prompt, 0, text, tokens, ending)


async def two_texts(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    yield reply(cell(1, "ab"), cell(0, "b"))
    yield reply(cell(1, "b"), cell(0, "a"), cell(1, "", pb.STOP))
    yield reply(Cell(0, error=FAILURE))


async def endless(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    yield reply(cell(0, "a"))
    await asyncio.get_running_loop().create_future()


async def one_failure(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    yield reply(Cell(0, error=FAILURE))


async def full(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    raise Overloaded("full")
    yield


def test_pieces_come_as_they_are_written() -> None:
    async def test() -> None:
        async with served() as (server, client):
            server.writing = two_texts
            coming = [piece async for piece in client.generate("letters", ["a", "b"], max_tokens=3)]
            assert coming[0] == Piece(1, 0, "ab", (0, 1), None, None)
            assert [(p.prompt, p.text, p.tokens, p.ending) for p in coming[1:5]] == [
                (0, "b", (1,), None),
                (1, "b", (1,), None),
                (0, "a", (0,), None),
                (1, "", (), Ending.STOP),
            ]
            assert isinstance(coming[5].error, ModelFailed) and str(coming[5].error) == "not finite"

    run(test())


def test_whole_texts_come_in_the_order_of_the_prompts() -> None:
    async def test() -> None:
        async with served() as (server, client):
            server.writing = two_texts
            first, second = await client.write("letters", ["a", "b"], max_tokens=3)
            assert (first.prompt, first.text, first.tokens, first.ending) == (0, "ba", (1, 0), None)
            assert isinstance(first.error, ModelFailed)
            assert second == Piece(1, 0, "abb", (0, 1, 1), Ending.STOP, None)

    run(test())


def test_the_only_text_of_a_call_raises_its_error() -> None:
    async def test() -> None:
        async with served() as (server, client):
            server.writing = one_failure
            with pytest.raises(ModelFailed, match="not finite"):
                await client.write("letters", "a")
            (text,) = await client.write("letters", "a", copies=2)  # the script says nothing of the other one
            assert isinstance(text.error, ModelFailed)

    run(test())


def test_leaving_the_iterator_cancels_the_call() -> None:
    async def test() -> None:
        async with served() as (server, client):
            server.writing = endless
            async with aclosing(client.generate("letters", "a")) as coming:
                assert (await anext(coming)).text == "a"
            await server.until(lambda: server.cancelled == 1)
            async for _ in client.generate("letters", "a"):
                break
            await server.until(lambda: server.cancelled == 2)
            begun = asyncio.Event()

            async def held(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
                begun.set()
                async for told in endless(asked):
                    yield told

            server.writing = held
            task = asyncio.create_task(client.write("letters", "a"))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.until(lambda: server.cancelled == 3)

    run(test())


def test_what_ends_the_call_is_raised() -> None:
    async def test() -> None:
        async with served() as (server, client):
            server.writing = full
            with pytest.raises(Overloaded, match="full") as refused:
                await client.write("letters", "a")
            assert refused.value.retry_after == 0.25
            with pytest.raises(UnknownModel, match="none"):
                await client.write("none", "a")

    run(test())


def test_a_server_that_goes_and_a_client_that_is_closed_end_the_call() -> None:
    async def test() -> None:
        async with served() as (server, client):
            server.writing = endless
            coming = client.generate("letters", "a")
            await anext(coming)
            await server.__aexit__()
            with pytest.raises(HeadraceError):
                await anext(coming)
        async with FakeServer() as server:
            server.writing = endless
            async with Client(server.address) as client:
                coming = client.generate("letters", "a")
                await anext(coming)
            with pytest.raises(Unavailable, match="closed"):
                await anext(coming)

    run(test())


def test_what_is_left_out_asks_for_nothing_but_a_random_seed() -> None:
    first, second = request("letters", LETTERS, "a"), request("letters", LETTERS, "a")
    assert first.sampling.seed != second.sampling.seed
    first.sampling.ClearField("seed")
    sampling = pb.Sampling(top_p=1.0, repetition_penalty=1.0)
    assert first == pb.GenerateRequest(model="letters", prompts=[pb.Prompt(text="a")], copies=1, sampling=sampling)


def test_all_that_is_asked_is_said() -> None:
    asked = request(
        "letters",
        LETTERS,
        max_tokens=7,
        temperature=0.5,
        top_k=3,
        top_p=0.25,
        repetition_penalty=2.0,
        seed=2**64 - 1,
        stop="x",
        copies=4,
        timeout=1.5,
        version="2",
    )
    sampling = pb.Sampling(temperature=0.5, top_k=3, top_p=0.25, repetition_penalty=2.0, seed=2**64 - 1)
    assert asked == pb.GenerateRequest(
        model="letters",
        version="2",
        prompts=[pb.Prompt()],
        copies=4,
        most=7,
        stop=["x"],
        sampling=sampling,
        timeout_us=1_500_000,
    )


@pytest.mark.parametrize(
    ("prompts", "source", "wanted"),
    [
        ("a", None, [pb.Prompt(text="a")]),
        (["a", [1, 2]], None, [pb.Prompt(text="a"), pb.Prompt(tokens=[1, 2])]),
        (("a", "b"), None, [pb.Prompt(text="a"), pb.Prompt(text="b")]),
        ([1, 2], None, [pb.Prompt(tokens=[1, 2])]),
        (np.array([1, 2]), None, [pb.Prompt(tokens=[1, 2])]),
        ([], None, []),
        (None, "ab", [pb.Prompt(source_text="ab")]),
        (None, ["a", "b"], [pb.Prompt(source_text="a"), pb.Prompt(source_text="b")]),
        ("x", ["a", "b"], [pb.Prompt(text="x", source_text="a"), pb.Prompt(text="x", source_text="b")]),
        (["x", "y"], "a", [pb.Prompt(text="x", source_text="a"), pb.Prompt(text="y", source_text="a")]),
        (["x", "y"], ["a", "b"], [pb.Prompt(text="x", source_text="a"), pb.Prompt(text="y", source_text="b")]),
        (None, [2, 0], [pb.Prompt(source=[np.array([2, 0], "<i8").tobytes()])]),
        (None, {"word": [2]}, [pb.Prompt(source=[np.array([2], "<i8").tobytes()])]),
    ],
)
def test_prompts_and_sources_are_paired(prompts: Any, source: Any, wanted: list[pb.Prompt]) -> None:
    assert list(request("translator", TRANSLATOR, prompts, source=source).prompts) == wanted


@pytest.mark.parametrize(
    ("spec", "how", "word"),
    [
        (LETTERS, {"copies": 0}, "1 or more"),
        (LETTERS, {"max_tokens": 0}, "1 or more"),
        (LETTERS, {"top_p": 0.0}, "above 0"),
        (LETTERS, {"repetition_penalty": float("nan")}, "above 0"),
        (LETTERS, {"top_k": -1}, "cannot be asked"),
        (LETTERS, {"seed": 2**64}, "cannot be asked"),
        (LETTERS, {"timeout": float("nan")}, "timeout"),
        (LETTERS, {"prompts": [[1.5]]}, "token ids"),
        (LETTERS, {"source": [1]}, "without a source"),
        (TRANSLATOR, {"prompts": ["a", "b"], "source": ["a", "b", "a"]}, "2 prompts and 3 sources"),
        (TRANSLATOR, {"source": np.zeros((2, 2))}, "word takes"),
    ],
)
def test_what_cannot_be_asked_is_refused(spec: Any, how: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        request("m", spec, how.pop("prompts", None), **how)


def test_a_sequence_begins_with_its_source_until_it_is_known_to_have_begun() -> None:
    async def test() -> None:
        async with served() as (server, client):
            sequence = await client.open("translator", "a", source="ba")
            seeing = await client.open("seeing", "b", source=[[0.5, 1.0]])
            told = [opening for frame in server.frames for opening in frame.opens]
            assert [[np.frombuffer(cells, "<i8").tolist() for cells in told[0].source]] == [[[1, 0]]]
            assert [np.frombuffer(cells, "<f4").tolist() for cells in told[1].source] == [[0.5, 1.0]]
            server.cut()
            await server.until(lambda: server.connections == 2)
            await sequence.reset()
            told = [opening for frame in server.frames for opening in frame.opens][2:]
            assert {bool(opening.source) for opening in told if opening.mode == pb.REJOIN} == {False}
            assert [len(opening.source) for opening in told if opening.mode == pb.REPLACE] == [1]
            await seeing.close()

    run(test())


def test_an_open_that_was_not_answered_carries_its_source_again() -> None:
    async def test() -> None:
        async with served() as (server, client):
            refusals = [pb.Error(code=pb.OVERLOADED, message="full", retry_after_ms=1), None]
            server.refuse_open = lambda told: refusals.pop(0)
            await client.open("translator", "a", source="ba")
            first, second = (opening for frame in server.frames for opening in frame.opens)
            assert first.source == second.source and first.source

    run(test())


@pytest.mark.parametrize(
    ("model", "source", "word"),
    [("sum", "a", "without a source"), ("translator", "x", "'x'"), ("seeing", "a", "no text")],
)
def test_a_source_that_does_not_fit_is_refused(model: str, source: str, word: str) -> None:
    async def test() -> None:
        async with served() as (_, client):
            with pytest.raises(InvalidInput, match=word):
                await client.open(model, source=source)

    run(test())
