"""Texts on the wire: what the lanes are asked, and what the caller hears while they grow."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from math import inf
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.errors import ModelFailed
from headrace.protos import sequences_pb2 as pb
from headrace.server.commands import Leave, Prompt, Sampling
from headrace.server.models import Models
from headrace.server.rpc.generate import GenerateCalls
from headrace.server.rpc.generate_request import Reader
from headrace.server.rpc.sequences import SequencesService
from headrace.server.steps import Ending

from ..fakes import Clock
from ..listening import channel_to
from .texts import BARE, LETTERS, MUTE, TRANSLATOR, WritingLane, cells, generate, merged, writer, writing

TEXT = [pb.Prompt(text="ab")]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def asked(lane: WritingLane) -> Any:
    await lane.until(lambda lane: bool(lane.asked))  # type: ignore[attr-defined]
    return lane.asked[0]


def test_a_text_comes_as_it_is_written_and_then_counts_no_more() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        async with writing(model) as channel:
            call = generate(channel, TEXT)
            command = await asked(lane)
            lane.say(command, (0, "ca", None))
            reply = await call.read()
            assert [(p.text, p.tokens, p.ending) for p in cells(reply)] == [("ca", [2, 0], pb.NOT_ENDED)]
            drained = asyncio.ensure_future(model.answered())
            lane.say(command, (0, "b", Ending.MOST))
            reply = await call.read()
            assert [(p.text, p.ending) for p in cells(reply)] == [("b", pb.MOST)]
            assert await call.read() is grpc.aio.EOF
            await drained
            assert not lane.left

    run(test())


def test_the_lane_is_asked_what_the_request_says() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        async with writing(model, clock=Clock(50.0)) as channel:
            sampling = pb.Sampling(temperature=0.5, top_k=3, seed=2**63)
            _call = generate(channel, TEXT, copies=2, stop=["x", "y"], sampling=sampling, timeout_us=2_000_000)
            command = await asked(lane)
            assert [p.tokens.tolist() for p in command.prompts] == [[0, 1]] and command.prompts[0].source == ()
            assert (command.copies, command.most, command.stop) == (2, 5, ("x", "y"))
            assert (command.arrived, command.deadline) == (50.0, 52.0)
            assert command.sampling == Sampling(0.5, 3, 1.0, 1.0, 2**63)

    run(test())


def test_what_is_left_out_bounds_nothing_but_the_models_longest_sequence() -> None:
    async def test() -> None:
        model, (lane,) = writer(TRANSLATOR)
        async with writing(model) as channel:
            _call = generate(channel, [pb.Prompt(source_text="yx")], model="translator", most=0)
            command = await asked(lane)
            assert (command.most, command.deadline, command.sampling) == (20, inf, Sampling())
            assert command.prompts[0].tokens.tolist() == []
            assert [given.tolist() for given in command.prompts[0].source] == [[1, 0]]

    run(test())


def test_tokens_are_taken_as_they_are() -> None:
    async def test() -> None:
        model, (lane,) = writer(TRANSLATOR)
        async with writing(model) as channel:
            source = [np.array([1, 1], "<i8").tobytes()]
            _call = generate(channel, [pb.Prompt(tokens=[2, 1], source=source)], model="translator")
            (prompt,) = (await asked(lane)).prompts
            assert (prompt.tokens.tolist(), [given.tolist() for given in prompt.source]) == ([2, 1], [[1, 1]])

    run(test())


def test_the_calls_own_deadline_counts_if_it_is_sooner() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        async with writing(model, clock=Clock(0.0)) as channel:
            _call = generate(channel, TEXT, timeout=15.0, timeout_us=60_000_000)
            assert 0 < (await asked(lane)).deadline < 20.0

    run(test())


def test_prompts_are_spread_over_lanes_and_keep_their_numbers() -> None:
    async def test() -> None:
        model, lanes = writer(lanes=3)
        async with writing(model) as channel:
            call = generate(channel, [pb.Prompt(text=c) for c in "abcab"], copies=2)
            commands = [await asked(lane) for lane in lanes]
            assert sorted(p.number for c in commands for p in c.prompts) == [0, 1, 2, 3, 4]
            assert sorted(len(c.prompts) for c in commands) == [1, 2, 2]
            for lane, command in zip(lanes, commands, strict=True):
                texts = [("abc"[p.tokens[0]], copy) for p in command.prompts for copy in range(2)]
                lane.say(command, *((key, text * (copy + 1), Ending.END) for key, (text, copy) in enumerate(texts)))
            told = merged([reply async for reply in call])
            assert told == {(n, k): (c * (k + 1), pb.END) for n, c in enumerate("abcab") for k in range(2)}

    run(test())


def test_one_prompt_goes_to_one_lane_and_the_next_to_another() -> None:
    async def test() -> None:
        model, lanes = writer(lanes=2)
        async with writing(model) as channel:
            first = generate(channel, TEXT, copies=4)
            second = generate(channel, TEXT, copies=4)
            assert [len((await asked(lane)).prompts) for lane in lanes] == [1, 1]
            first.cancel()
            second.cancel()

    run(test())


def test_what_was_not_read_yet_comes_together() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        async with writing(model) as channel:
            call = generate(channel, TEXT, copies=2)
            command = await asked(lane)
            for _ in range(3):
                lane.say(command, (0, "a", None), (1, "b", None))
            lane.say(command, (1, "c", Ending.STOP))
            lane.say(command, (0, "", Ending.END))
            (reply,) = [reply async for reply in call]
            assert [p.text for p in cells(reply)] == ["a", "b"] * 3 + ["c", ""]
            assert merged([reply]) == {(0, 0): ("aaa", pb.END), (0, 1): ("bbbc", pb.STOP)}

    run(test())


def test_one_text_fails_and_the_others_go_on() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        async with writing(model) as channel:
            call = generate(channel, [pb.Prompt(text="a"), pb.Prompt(text="a?"), pb.Prompt(text="b", tokens=[1])])
            command = await asked(lane)
            assert [p.number for p in command.prompts] == [0]
            lane.refuse(command, 0, ModelFailed("not finite"))
            lane.refuse(command, 0, ModelFailed("told twice"))
            heard = cells(*[reply async for reply in call])
            told = {cell.prompt: cell.error for cell in heard if cell.error is not None}
            codes = {0: pb.MODEL_FAILED, 1: pb.INVALID_INPUT, 2: pb.INVALID_INPUT}
            assert len(heard) == 3 and {n: e.code for n, e in told.items()} == codes
            assert told[0].message == "not finite" and "'?'" in told[1].message and "both" in told[2].message
            await model.answered()

    run(test())


def test_a_cancelled_call_leaves_at_once_and_its_texts_count_no_more() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        async with writing(model) as channel:
            call = generate(channel, TEXT, copies=3)
            command = await asked(lane)
            lane.say(command, (1, "a", Ending.END))
            await call.read()
            call.cancel()
            await lane.until(lambda lane: bool(lane.left))
            await model.answered()
            assert [type(posted) for posted in lane.posted[1:2]] == [Leave]

    run(test())


def test_who_does_not_read_is_sent_away() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        async with writing(model) as channel:
            call = generate(channel, TEXT)
            command = await asked(lane)
            for _ in range(20):
                lane.say(command, (0, "a" * (1 << 16), None))
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                async for _ in call:
                    pass
            assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await lane.until(lambda lane: bool(lane.left))
            await model.answered()

    run(test())


def test_a_write_that_finds_its_caller_gone_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    class Gone:
        """A call whose caller has cancelled it while a write was held up."""

        def time_remaining(self) -> None: ...

        def cancelled(self) -> bool:
            return True

        async def write(self, reply: pb.GenerateReply) -> None:
            raise OSError("scripted")

    async def test() -> None:
        model, (lane,) = writer()
        calls = GenerateCalls(Models([model]), Clock())
        request = pb.GenerateRequest(model="letters", prompts=TEXT, most=5)
        call = asyncio.create_task(calls.handle(request, Gone()))  # type: ignore[arg-type]
        lane.say(await asked(lane), (0, "a", None))
        with pytest.raises(OSError, match="scripted"):
            await call
        assert lane.left
        await model.answered()

    run(test())
    assert not caplog.records


def test_a_server_that_stops_ends_what_it_does_not_wait_for_any_longer() -> None:
    async def test() -> None:
        model, (lane,) = writer()
        service = SequencesService(Models([model]), 100, 4096, Clock())
        async with channel_to(service.handler()) as channel:
            call = generate(channel, TEXT)
            lane.say(await asked(lane), (0, "a", None))
            service.finish()
            assert [cell.text for cell in cells(await call.read())] == ["a"]
            with pytest.raises(grpc.aio.AioRpcError, match="shutting down") as ended:
                await call.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
            await model.answered()

    run(test())


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"model": "none"}, grpc.StatusCode.NOT_FOUND, "there are"),
        ({"model": "mute"}, grpc.StatusCode.INVALID_ARGUMENT, "writes no texts"),
        ({"most": 0}, grpc.StatusCode.INVALID_ARGUMENT, "how many tokens"),
        ({"sampling": pb.Sampling(temperature=-1)}, grpc.StatusCode.INVALID_ARGUMENT, "temperature"),
        ({"stop": [""]}, grpc.StatusCode.INVALID_ARGUMENT, "stop strings"),
        ({"prompts": []}, grpc.StatusCode.INVALID_ARGUMENT, "no prompt"),
        ({"copies": 7}, grpc.StatusCode.INVALID_ARGUMENT, "at most 6"),
        ({"copies": 2**32 - 1}, grpc.StatusCode.INVALID_ARGUMENT, "at most 6"),
        ({"prompts": [pb.Prompt(text="a" * 5000)]}, grpc.StatusCode.INVALID_ARGUMENT, "over the limit"),
    ],
)
def test_what_is_wrong_with_the_whole_request_is_its_status(
    fields: dict[str, Any], code: grpc.StatusCode, word: str
) -> None:
    async def test() -> None:
        (model, (lane,)), (mute, _) = writer(queued=6), writer(MUTE)
        async with writing(model, mute) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await generate(channel, **{"prompts": TEXT, **fields}).read()
            assert (ended.value.code(), word in str(ended.value.details())) == (code, True)
            await model.answered()
            assert not lane.posted

    run(test())


def test_a_full_model_and_one_that_ends_refuse() -> None:
    async def test() -> None:
        model, (lane,) = writer(queued=3)
        async with writing(model) as channel:
            _call = generate(channel, TEXT, copies=2)
            await asked(lane)
            assert await refusal(channel, copies=2) is grpc.StatusCode.RESOURCE_EXHAUSTED
            model.draining = True
            assert await refusal(channel) is grpc.StatusCode.UNAVAILABLE

    async def refusal(channel: grpc.aio.Channel, **fields: Any) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await generate(channel, TEXT, **fields).read()
        return ended.value.code()

    run(test())


@pytest.mark.parametrize(
    ("spec", "prompt", "word"),
    [
        (BARE, pb.Prompt(text="a"), "has no symbols"),
        (LETTERS, pb.Prompt(text="a", source=[b""]), "no start graph"),
        (LETTERS, pb.Prompt(text="a", source_text="x"), "takes no source"),
        (TRANSLATOR, pb.Prompt(source_text="z"), "'z'"),
        (TRANSLATOR, pb.Prompt(text="z" * 21), "more than the 20 tokens"),
        (TRANSLATOR, pb.Prompt(source_text="z" * 9), "more than the 8 tokens"),
        (TRANSLATOR, pb.Prompt(source_text="x", source=[b""]), "text or tensors"),
        (TRANSLATOR, pb.Prompt(source=[b"1234567"]), "must be int64"),
        (TRANSLATOR, pb.Prompt(source=[b"", b""]), "has 1 inputs"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_told_in_its_place(spec: Any, prompt: pb.Prompt, word: str) -> None:
    async def test() -> None:
        model, _ = writer(spec)
        async with writing(model) as channel:
            (reply,) = [reply async for reply in generate(channel, [prompt], model=spec.name, copies=2)]
            assert [(p.prompt, p.copy) for p in cells(reply)] == [(0, 0), (0, 1)]
            assert [end.error.code for end in reply.ends] == [pb.INVALID_INPUT] * 2
            assert all(word in end.error.message for end in reply.ends)
            await model.answered()

    run(test())


def test_bytes_that_are_no_request_are_refused_in_words() -> None:
    async def test() -> None:
        model, _ = writer()
        async with writing(model) as channel:
            call = channel.unary_stream(
                "/headrace.v1.Sequences/Generate", response_deserializer=pb.GenerateReply.FromString
            )
            with pytest.raises(grpc.aio.AioRpcError, match="no GenerateRequest") as ended:
                await call(b"\xff").read()
            assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    run(test())


def test_a_source_in_letters_has_the_dtype_of_its_input() -> None:
    start = TRANSLATOR.start
    assert start is not None
    narrow = start.model_copy(update={"inputs": (start.inputs[0].model_copy(update={"dtype": "int32"}),)})
    reader = Reader.of(TRANSLATOR.model_copy(update={"start": narrow}))
    (prompt,) = reader.prompts(pb.GenerateRequest(prompts=[pb.Prompt(source_text="yx")]))
    assert isinstance(prompt, Prompt) and prompt.source[0].dtype == np.int32
