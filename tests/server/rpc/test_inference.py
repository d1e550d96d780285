"""The service on a real port, over lanes that answer as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.errors import Cancelled, DeadlineExceeded, HeadraceError, ModelFailed, WrongPosition
from headrace.protos import inference_pb2 as pb
from headrace.server.models import Models
from headrace.server.rpc.errors import MOST_DETAILS
from headrace.server.rpc.inference import InferenceService
from headrace.server.rpc.inference_stream import MOST_UNDER_WAY
from headrace.server.steps import Answers, Steps, failures

from ..fakes import FEATURES, STATELESS_SUM, SUM, Clock, SumEngine
from .oip import (
    ScriptedLane,
    add_input,
    ask,
    echo,
    infer,
    place,
    request,
    served,
    serving,
    stream,
    tensors,
    with_models,
)
from .wire import model

X = np.arange(6, dtype=np.float32).reshape(3, 2)


def step(x: np.ndarray = X, id: str = "", **parameters: Any) -> pb.ModelInferRequest:
    message = request("sum", x, **{"sequence_id": 1, **parameters})
    message.id = id
    return message


# Metadata


def test_live_ready_and_who() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        assert (await ask(channel, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live
        assert (await ask(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
        about = await ask(channel, "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
        assert about.name == "headrace" and about.version and "sequence" in about.extensions
        for name, version, ready in (("sum", "", True), ("sum", "1", True), ("sum", "2", False), ("none", "", False)):
            question = pb.ModelReadyRequest(name=name, version=version)
            assert (await ask(channel, "ModelReady", question, pb.ModelReadyResponse)).ready == ready

    with_models(check, served(SUM, ScriptedLane()))


def test_a_draining_server_is_live_but_not_ready() -> None:
    async def main() -> None:
        models = Models([served(SUM, ScriptedLane(echo))])
        async with serving(InferenceService(models, Clock())) as channel:
            await models.drain()
            assert (await ask(channel, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live
            assert not (await ask(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
            question = pb.ModelReadyRequest(name="sum")
            assert not (await ask(channel, "ModelReady", question, pb.ModelReadyResponse)).ready
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await infer(channel, step())
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(main())


def test_metadata_tells_the_shapes_that_are_served() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        for name, x, given, y, last in (
            ("sum", X, {"x": [-1, 2]}, [-1, 2], [1, 2]),
            ("stateless-sum", np.stack([X, X]), {"x": [-1, -1, 2], "lengths": [-1]}, [-1, -1, 2], [-1, 2]),
        ):
            question = pb.ModelMetadataRequest(name=name)
            about = await ask(channel, "ModelMetadata", question, pb.ModelMetadataResponse)
            assert {t.name: list(t.shape) for t in about.inputs} == given
            assert {t.name: list(t.shape) for t in about.outputs} == {"y": y, "last": last}
            assert list(about.versions) == ["1"]
            got = tensors(await infer(channel, request(name, x, sequence_id=1)))
            for tensor in about.outputs:  # metadata that lies is worse than none
                fits = zip(tensor.shape, got[tensor.name].shape, strict=True)
                assert all(told in (-1, size) for told, size in fits)

    with_models(check, served(SUM, ScriptedLane(echo)), served(STATELESS_SUM, ScriptedLane(echo)))


def test_metadata_of_an_unknown_model_is_not_found() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(channel, "ModelMetadata", pb.ModelMetadataRequest(name="none"), pb.ModelMetadataResponse)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    with_models(check, served(SUM, ScriptedLane()))


# One request, one response


def test_a_response_says_whose_it_is() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        response = await infer(channel, step(id="42"))
        assert (response.model_name, response.model_version, response.id) == ("sum", "1", "42")
        np.testing.assert_array_equal(tensors(response)["y"], X)
        np.testing.assert_array_equal(tensors(response)["last"], X[-1:])

    with_models(check, served(SUM, ScriptedLane(echo)))


def test_only_requested_outputs_come() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        message = step()
        message.outputs.add(name="last")
        assert list(tensors(await infer(channel, message))) == ["last"]

    with_models(check, served(SUM, ScriptedLane(echo)))


def test_rows_are_gathered_however_they_are_answered() -> None:
    def scattered(steps: Steps) -> Answers:
        """The last two rows, in wrong order, before the first."""
        order = np.array([2, 1])
        return [answer for part in (steps.take(order), steps.take(np.array([0]))) for answer in echo(part)]

    async def check(channel: grpc.aio.Channel) -> None:
        message = request("stateless-sum", np.arange(12, dtype=np.float32).reshape(6, 2))
        add_input(message, "lengths", np.array([1, 3, 2]))
        got = tensors(await infer(channel, message))
        np.testing.assert_array_equal(got["y"], np.arange(12).reshape(6, 2))
        np.testing.assert_array_equal(got["last"], [[0, 1], [6, 7], [10, 11]])

    with_models(check, served(STATELESS_SUM, ScriptedLane(scattered)))


def test_one_failing_row_fails_its_request_when_all_are_answered() -> None:
    def half(steps: Steps) -> Answers:
        good, bad = steps.split(1)
        return [*failures(bad, ModelFailed("row 1")), *echo(good)]

    async def check(channel: grpc.aio.Channel) -> None:
        await refused(channel, request("stateless-sum", np.stack([X, X])), grpc.StatusCode.INTERNAL, "row 1")

    with_models(check, served(STATELESS_SUM, ScriptedLane(half)))


async def refused(
    channel: grpc.aio.Channel, message: pb.ModelInferRequest, code: grpc.StatusCode, details: str
) -> grpc.aio.Metadata:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await infer(channel, message)
    assert (error.value.code(), details in error.value.details()) == (code, True), error.value
    return error.value.trailing_metadata()


def test_errors_have_the_status_of_the_table() -> None:
    error: HeadraceError = WrongPosition("expects 4", expected_position=4)

    async def check(channel: grpc.aio.Channel) -> None:
        metadata = await refused(channel, step(), grpc.StatusCode.ABORTED, "expects 4")
        assert metadata["headrace-expected-position"] == "4"

    with_models(check, served(SUM, ScriptedLane(lambda steps: failures(steps, error))))


def test_a_full_server_refuses_at_once() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        held = asyncio.ensure_future(infer(channel, step()))
        await lane.until(lambda lane: bool(lane.steps))
        metadata = await refused(channel, step(), grpc.StatusCode.RESOURCE_EXHAUSTED, "queued")
        assert int(metadata["grpc-retry-pushback-ms"]) > 0
        held.cancel()

    lane = ScriptedLane()
    with_models(check, served(SUM, lane, queued=1))
    assert len(lane.steps) == 1


def test_a_batch_that_no_queue_can_hold_is_told_the_bound() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        batch = request("stateless-sum", np.ones((3, 1, FEATURES), np.float32))
        await refused(channel, batch, grpc.StatusCode.INVALID_ARGUMENT, "send at most 2 rows in a frame or request")

    lane = ScriptedLane()
    with_models(check, served(STATELESS_SUM, lane, queued=2))
    assert lane.posted == []


def test_what_a_client_named_comes_back_shortened() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        name = "x" * 2_000_000
        wrong_input, wrong_type, wrong_output, wrong_shape = step(), step(), step(), step()
        wrong_input.inputs[0].name = wrong_type.inputs[0].datatype = name
        wrong_output.outputs.add(name=name)
        wrong_shape.inputs[0].shape.extend([1] * 100_000)
        call = stream(channel)
        for message, word in (
            (request(name), "there are: sum"),
            (wrong_input, "takes the inputs x"),
            (wrong_type, "must be of FP32"),
            (wrong_output, "it has: y, last"),
            (wrong_shape, "has the shape"),
        ):
            await call.write(message)
            answer = (await call.read()).error_message
            assert word in answer and len(answer) <= MOST_DETAILS
        call.cancel()

    with_models(check, served(SUM, ScriptedLane()))


def test_what_stock_servers_refuse_is_refused_alike() -> None:
    other_version, other_output = step(), step()
    other_version.model_version = "2"
    other_output.outputs.add(name="z")
    argument, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    cases = [
        (request("sum", X), argument, "sequence_id"),
        (step(np.zeros((3, 5), np.float32)), argument, "[3, 5]"),
        (step(np.zeros((3, 2), np.int64)), argument, "FP32"),
        (step(np.zeros((2, 3, 2), np.float32)), argument, "batch of 1"),
        (request("sum", None, sequence_id=1), argument, "takes the inputs x"),
        (other_output, argument, "no output 'z'"),
        (request("none", X), missing, "there are: sum"),
        (other_version, missing, "no version '2'"),
    ]

    async def check(channel: grpc.aio.Channel) -> None:
        for message, code, details in cases:
            await refused(channel, message, code, details)

    lane = ScriptedLane()
    with_models(check, served(SUM, lane))
    assert lane.posted == []


def test_a_long_message_does_not_burst_the_headers() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        await refused(channel, request("x" * 100_000), grpc.StatusCode.NOT_FOUND, "no model")

    with_models(check, served(SUM, ScriptedLane()))


def test_the_deadline_of_the_call_is_the_steps() -> None:
    lane = ScriptedLane(echo)

    async def check(channel: grpc.aio.Channel) -> None:
        await infer(channel, step(), timeout=60.0)
        await infer(channel, step())

    with_models(check, served(SUM, lane))
    timed, untimed = lane.steps
    assert 100 < timed.deadlines[0] < 161  # gRPC rounds it up on the wire
    assert untimed.deadlines[0] == np.inf
    assert timed.arrived == 100


def test_an_abandoned_call_leaves_its_lane() -> None:
    lane = ScriptedLane()

    async def check(channel: grpc.aio.Channel) -> None:
        call = asyncio.create_task(infer(channel, step()))
        await lane.until(lambda lane: bool(lane.steps))
        call.cancel()
        await lane.until(lambda lane: bool(lane.left))
        (steps,) = lane.steps
        assert lane.left == [place(steps)]
        lane.deliver(failures(steps, Cancelled("the caller is gone")))  # as a lane does; nobody is there to hear it
        lane.script = echo
        await infer(channel, step())

    with_models(check, served(SUM, lane))


# Streams


def test_requests_enter_in_order_and_leave_as_they_finish() -> None:
    lane = ScriptedLane()

    async def check(channel: grpc.aio.Channel) -> None:
        call = stream(channel)
        for number in range(3):
            await call.write(step(X + number, id=str(number), sequence_id=number + 1))
        await lane.until(lambda lane: len(lane.steps) == 3)
        assert [steps.values[0][0, 0] for steps in lane.steps] == [0, 1, 2]
        for number in (2, 0, 1):
            lane.deliver(echo(lane.steps[number]))
            response = (await call.read()).infer_response
            assert (response.id, tensors(response)["y"][0, 0]) == (str(number), number)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

    with_models(check, served(SUM, lane))


def test_a_stream_outlives_its_errors() -> None:
    errors: list[HeadraceError | None] = [WrongPosition("w", expected_position=4), DeadlineExceeded("late"), None]

    def script(steps: Steps) -> Answers:
        error = errors.pop(0)
        return echo(steps) if error is None else failures(steps, error)

    async def check(channel: grpc.aio.Channel) -> None:
        call = stream(channel)
        for number, message in enumerate((step(), step(), request("none"), b"\xff\xff", step(X[:, :1]), step())):
            if isinstance(message, pb.ModelInferRequest):
                message.id = str(number)
            await call.write(message)
        responses = {}
        for _ in range(6):
            response = await call.read()
            responses[response.infer_response.id or "malformed"] = response
        status = {key: r.infer_response.parameters["headrace_status"].string_param for key, r in responses.items()}
        assert status == {
            "0": "ABORTED",
            "1": "DEADLINE_EXCEEDED",
            "2": "NOT_FOUND",
            "malformed": "INVALID_ARGUMENT",
            "4": "INVALID_ARGUMENT",
            "5": "",
        }
        assert responses["0"].infer_response.parameters["headrace_expected_position"].int64_param == 4
        assert "cut short" in responses["malformed"].error_message
        np.testing.assert_array_equal(tensors(responses["5"].infer_response)["y"], X)

    with_models(check, served(SUM, ScriptedLane(script)))


def test_malformed_bytes_of_a_call_are_an_invalid_argument() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"\xff\xff")
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    with_models(check, served(SUM, ScriptedLane()))


def test_a_fault_of_ours_fails_its_request_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ScriptedLane):
        def post(self, command: Any) -> None:
            raise ZeroDivisionError("scripted")

    async def check(channel: grpc.aio.Channel) -> None:
        call = stream(channel)
        await call.write(step())
        assert "ZeroDivisionError" in (await call.read()).error_message
        await call.write(request("stateless-sum", X))
        assert not (await call.read()).error_message

    with_models(check, served(SUM, Broken()), served(STATELESS_SUM, ScriptedLane(echo)))
    assert "requests failed" in caplog.text


def test_a_stream_without_answers_is_not_read_for_ever() -> None:
    lane = ScriptedLane()

    async def check(channel: grpc.aio.Channel) -> None:
        call = stream(channel)
        writer = asyncio.create_task(write_many(call, MOST_UNDER_WAY + 10))
        await lane.until(lambda lane: len(lane.steps) == MOST_UNDER_WAY)
        await infer_elsewhere(channel, lane)
        assert len(lane.steps) == MOST_UNDER_WAY + 1  # the one from elsewhere
        lane.script = echo
        for steps in lane.steps[:MOST_UNDER_WAY]:
            lane.deliver(echo(steps))
        for _ in range(MOST_UNDER_WAY + 10):
            assert not (await call.read()).error_message
        await writer
        assert await call.read() is grpc.aio.EOF

    with_models(check, served(SUM, lane))


async def write_many(call: Any, count: int) -> None:
    for _ in range(count):
        await call.write(step())
    await call.done_writing()


async def infer_elsewhere(channel: grpc.aio.Channel, lane: ScriptedLane) -> None:
    """Some round trips on the same connection: time enough for the stream's next request to be read, if it were."""
    seen = len(lane.steps)
    for _ in range(10):
        await ask(channel, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
    call = asyncio.create_task(infer(channel, step()))
    await lane.until(lambda lane: len(lane.steps) > seen)
    lane.deliver(echo(lane.steps[-1]))
    await call


def test_a_lost_stream_leaves_its_lanes() -> None:
    lane = ScriptedLane()

    async def check(channel: grpc.aio.Channel) -> None:
        call = stream(channel)
        for _ in range(3):
            await call.write(step())
        await lane.until(lambda lane: len(lane.steps) == 3)
        lane.deliver(echo(lane.steps[1]))
        await call.read()
        call.cancel()
        await lane.until(lambda lane: len(lane.left) == 2)
        assert set(lane.left) == {place(lane.steps[0]), place(lane.steps[2])}

    with_models(check, served(SUM, lane))


def test_a_finished_service_answers_what_it_has_read_and_ends_its_streams() -> None:
    async def main() -> None:
        lane = ScriptedLane()
        models = Models([served(SUM, lane)])
        service = InferenceService(models, Clock())
        async with serving(service) as channel:
            call = stream(channel)
            await call.write(step())
            await lane.until(lambda lane: len(lane.steps) == 1)
            drained = asyncio.create_task(models.drain())
            service.finish()
            lane.deliver(echo(lane.steps[0]))
            assert not (await call.read()).error_message
            await drained
            assert await call.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(main())


# The end of a sequence, over a real lane


def over_a_lane(check: Callable[[grpc.aio.Channel], Any]) -> None:
    async def main() -> None:
        clock = Clock()
        models = Models([model(clock, engine=SumEngine(40, refuse=lambda values: bool((values == 7).any())))])
        try:
            async with serving(InferenceService(models, clock)) as channel:
                await check(channel)
        finally:
            models.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_last_request_that_is_refused_ends_nothing_and_may_be_sent_again() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        await infer(channel, step(sequence_start=True))
        wrong = step(sequence_end=True, headrace_position=9)
        metadata = await refused(channel, wrong, grpc.StatusCode.ABORTED, "expects position 3")
        assert metadata["headrace-expected-position"] == "3"
        await refused(channel, step(X * np.nan, sequence_end=True), grpc.StatusCode.INVALID_ARGUMENT, "NaN")
        await infer(channel, step(sequence_end=True, headrace_position=3))
        await refused(channel, step(), grpc.StatusCode.INVALID_ARGUMENT, "not live")

    over_a_lane(check)


def test_a_last_request_that_was_queued_ends_the_sequence_also_if_it_fails() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        await infer(channel, step(sequence_start=True))
        await refused(channel, step(X + 7, sequence_end=True), grpc.StatusCode.INTERNAL, "the model failed")
        await refused(channel, step(), grpc.StatusCode.INVALID_ARGUMENT, "not live")

    over_a_lane(check)


def test_a_last_request_that_was_answered_finds_the_sequence_gone_when_sent_again() -> None:
    async def check(channel: grpc.aio.Channel) -> None:
        await infer(channel, step(sequence_start=True, headrace_position=0))
        again, last = step(headrace_position=3), step(headrace_position=6, sequence_end=True)
        answers = [tensors(await infer(channel, message))["y"] for message in (again, again, last)]
        np.testing.assert_array_equal(answers[0], answers[1])  # applied once
        await refused(channel, last, grpc.StatusCode.INVALID_ARGUMENT, "not live")

    over_a_lane(check)
