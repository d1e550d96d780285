"""The frames protocol on the wire: what a client in any language sees."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.protos import sequences_pb2 as pb
from headrace.server.batch import Batch, Outcome
from headrace.server.models import Model, Models
from headrace.spec import ModelSpec

from ..fakes import STATELESS_SUM, SUM, Clock, SumEngine
from .wire import Wire, model, opens, serving, stepping, sums


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


@dataclass
class HeldEngine(SumEngine):
    """Runs when it is let, and says when it was asked to."""

    asked: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    def run(self, batch: Batch) -> Outcome:
        self.asked.set()
        assert self.let.wait(20)
        return super().run(batch)


def test_open_step_and_close_in_one_frame() -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock) as (channel, _):
            wire = Wire(channel)
            frame = opens(1, 2)
            frame.MergeFrom(stepping([(1, 0, [1, 2]), (2, 0, [5])]))
            frame.closes = np.array([2], "<u4").tobytes()
            reply = await wire.ask(frame, 5)
            assert [(o.key, o.position, o.version, o.resumed) for o in reply.opened] == [
                (1, 0, "1", False),
                (2, 0, "1", False),
            ]
            assert sums(reply) == {1: [1, 3], 2: [5]}
            assert np.frombuffer(reply.closed, "<u4").tolist() == [2]
            assert sums(await wire.ask(stepping([(1, 2, [1])]), 1)) == {1: [4]}

    run(test())


def test_sequences_of_several_models_versions_and_lanes_share_a_stream() -> None:
    async def test() -> None:
        clock, other = Clock(), SUM.model_copy(update={"name": "other"})
        models = Models(
            [model(clock, lanes=3), model(clock, version="2"), model(clock, other), model(clock, STATELESS_SUM)]
        )
        async with serving(models, clock) as (channel, _):
            wire = Wire(channel)
            keys = range(10)
            assert {o.version for o in (await wire.ask(opens(*keys, version="1"), 10)).opened} == {"1"}
            assert {o.version for o in (await wire.ask(opens(20), 1)).opened} == {"2"}
            await wire.ask(opens(30, model="other"), 1)
            await wire.ask(opens(40, model="stateless-sum"), 1)
            reply = await wire.ask(stepping([(k, 0, [k, 1]) for k in (*keys, 20)]), 11)
            assert sums(reply) == {k: [k, k + 1] for k in (*keys, 20)}
            reply = await wire.ask(stepping([(1, 2, [1]), (30, 0, [7])]), 2)  # a frame is of one model
            assert [(e.key, e.code) for e in reply.errors] == [(1, pb.INVALID_INPUT)] and sums(reply) == {30: [7]}
            reply = await wire.ask(stepping([(40, 5, [1, 2]), (40, 6, [3])]), 2)
            assert sums(reply) == {40: [1, 3, 3]}

    run(test())


def test_without_a_version_a_live_sequence_stays_with_its_own() -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock), model(clock, version="2")]), clock) as (channel, _):
            first, second = Wire(channel), Wire(channel)
            await first.ask(opens(1, version="1"), 1)
            await first.ask(stepping([(1, 0, [1])]), 1)
            (opened,) = (await second.ask(opens(1, mode=pb.RESUME), 1)).opened
            assert (opened.version, opened.position, opened.resumed) == ("1", 1, True)

    run(test())


def apart(served: Model) -> tuple[str, str]:
    """Two ids that live in different lanes."""
    first, *others = (f"s{n}" for n in range(50))
    return first, next(id for id in others if served.lane(("", id)) is not served.lane(("", first)))


def opening(key: int, id: str, **fields: Any) -> pb.Open:
    return pb.Open(key=key, model="sum", id=id, incarnation=7, **fields)


def test_a_key_has_one_owner_across_lanes() -> None:
    async def test() -> None:
        clock = Clock()
        here, there = apart(served := model(clock, lanes=3))
        async with serving(Models([served]), clock) as (channel, _):
            wire = Wire(channel)
            frame = pb.Request(opens=[opening(1, here), opening(1, there)])  # neither is answered when it is decided
            reply = await wire.ask(frame, 2)
            assert [(o.key, o.resumed) for o in reply.opened] == [(1, False)]
            assert [(e.key, e.code) for e in reply.errors] == [(1, pb.ALREADY_EXISTS)]
            assert sums(await wire.ask(stepping([(1, 0, [1])]), 1)) == {1: [1]}
            (error,) = (await wire.ask(pb.Request(opens=[opening(1, there)]), 1)).errors
            assert error.code == pb.ALREADY_EXISTS
            (again,) = (await wire.ask(pb.Request(opens=[opening(1, here)]), 1)).opened
            assert (again.position, again.resumed) == (1, True)
            assert sums(await wire.ask(stepping([(1, 1, [1])]), 1)) == {1: [2]}

    run(test())


@pytest.mark.parametrize("end", ["closed", "taken"])
def test_the_key_of_a_dead_sequence_may_be_used_in_another_lane(end: str) -> None:
    async def test() -> None:
        clock = Clock()
        here, there = apart(served := model(clock, lanes=3))
        async with serving(Models([served]), clock) as (channel, _):
            wire, other = Wire(channel), Wire(channel)
            await wire.ask(pb.Request(opens=[opening(1, here)]), 1)
            if end == "closed":
                await wire.ask(pb.Request(closes=np.array([1], "<u4").tobytes()), 1)
            else:
                await other.ask(pb.Request(opens=[opening(1, here, mode=pb.RESUME)]), 1)
                assert [e.code for e in (await wire.read()).errors] == [pb.TAKEN_OVER]
            frame = stepping([(1, 0, [5])])
            frame.opens.append(opening(1, there))
            assert sums(await wire.ask(frame, 2)) == {1: [5]}

    run(test())


def test_an_open_is_bounded_and_a_drain_refuses_it() -> None:
    async def test() -> None:
        clock = Clock()
        engine = HeldEngine(40)
        full, models = model(clock, engine=engine, queued=1), Models([model(clock, version="2")])
        async with serving(Models([full]), clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            await wire.send(stepping([(1, 0, [1])]))
            await asyncio.to_thread(engine.asked.wait, 20)
            (error,) = (await wire.ask(opens(2), 1)).errors
            assert (error.code, error.retry_after_ms > 0) == (pb.OVERLOADED, True)
            engine.let.set()
        async with serving(models, clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            await models.drain()
            assert [e.code for e in (await wire.ask(opens(2), 1)).errors] == [pb.UNAVAILABLE]
            reply = await wire.ask(pb.Request(closes=np.array([1], "<u4").tobytes()), 1)  # what ends work passes
            assert np.frombuffer(reply.closed, "<u4").tolist() == [1]

    run(test())


def test_a_fault_of_ours_ends_the_call_as_internal(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> float:
        raise ZeroDivisionError("scripted")

    async def test() -> None:
        async with serving(Models([model(Clock())]), broken) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            await wire.send(stepping([(1, 0, [1])]))
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await wire.read()
            assert ended.value.code() is grpc.StatusCode.INTERNAL

    run(test())
    assert "a request met a fault of ours" in caplog.text


def test_a_takeover_tells_the_old_owner() -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock) as (channel, _):
            old, new = Wire(channel), Wire(channel)
            await old.ask(opens(1), 1)
            await old.ask(stepping([(1, 0, [1])]), 1)
            (opened,) = (await new.ask(opens(1, mode=pb.RESUME), 1)).opened
            assert opened.position == 1
            (error,) = (await old.read()).errors
            assert (error.key, error.code, error.HasField("position")) == (1, pb.TAKEN_OVER, False)
            again = await new.ask(stepping([(1, 0, [1])], acked=np.zeros(1, "<i8").tobytes()), 1)
            assert sums(again) == {1: [1]}  # the reply that may have been lost

    run(test())


def test_what_cannot_be_opened_is_a_typed_error_of_its_key() -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock) as (channel, _):
            wire = Wire(channel)
            frame = pb.Request(
                opens=[
                    pb.Open(key=1, model="nothing", id="a"),
                    pb.Open(key=2, model="sum", version="9", id="a"),
                    pb.Open(key=3, model="sum", id="é" * 100),
                    pb.Open(key=4, model="sum", id=""),
                    pb.Open(key=5, model="sum", id="gone", mode=pb.RESUME),
                    pb.Open(key=1 << 21, model="sum", id="b"),
                    pb.Open(key=6, model="sum", id="b", tenant="t" * 129),
                    pb.Open(key=7, model="sum", id="c", mode=99),  # type: ignore[arg-type]
                ]
            )
            reply = await wire.ask(frame, 8)
            codes = {e.key: e.code for e in reply.errors}
            assert codes == {
                1: pb.UNKNOWN_MODEL,
                2: pb.UNKNOWN_MODEL,
                3: pb.INVALID_INPUT,
                4: pb.INVALID_INPUT,
                5: pb.UNKNOWN_SEQUENCE,
                1 << 21: pb.INVALID_INPUT,
                6: pb.INVALID_INPUT,
                7: pb.INVALID_INPUT,
            }
            assert all(len(e.message) > 20 for e in reply.errors)
            (error,) = (await wire.ask(opens(8, model="x" * 2000, version="y"), 1)).errors
            assert len(error.message) < 300 and error.message.endswith("there are: sum")
            (error,) = (await wire.ask(opens(8, version="y" * 2000), 1)).errors
            assert len(error.message) < 300 and error.message.endswith("there are: 1")

    run(test())


def rows(frame: pb.Request, **columns: bytes | list[bytes]) -> pb.Request:
    for name, cells in columns.items():
        if isinstance(cells, list):
            del frame.steps.values[:]
            frame.steps.values.extend(cells)
        else:
            setattr(frame.steps, name, cells)
    return frame


@pytest.mark.parametrize(
    ("frame", "key", "word"),
    [
        (b"\x12\xff\xff", None, "cut short"),
        (b"\xff" * 5000, None, "over the limit"),
        (rows(stepping([(1, 1, [1])]), keys=b"\1\0\0"), None, "cut short"),
        (rows(stepping([(1, 1, [1])]), lengths=b""), None, "one cell for each row"),
        (rows(stepping([(1, 1, [1])]), acked=b"\0" * 16), 1, "acked"),
        (rows(stepping([(1, 1, [1])]), timeouts_us=b"\0" * 24), 1, "timeouts_us"),
        (rows(stepping([(1, 1, [1])]), values=[b"\0" * 7]), 1, "must be float32"),
        (rows(stepping([(1, 1, [1])]), values=[]), 1, "takes 1 inputs"),
        (rows(stepping([(1, 1, [])]), lengths=np.array([-5], "<i8").tobytes()), 1, "at least one"),
        (rows(stepping([(1, 1, [1])]), lengths=np.array([2**62], "<i8").tobytes()), 1, "must be float32"),
        (stepping([(1, 1, [float("nan")])]), 1, "NaN"),
        (stepping([(1, 1, [1.0] * 17)]), 1, "at most 16"),
        (stepping([(9, 0, [1])]), 9, "not opened"),
        (stepping([(1, -1, [1])]), 1, "0 or more"),
        (stepping([(1, 2**62, [1])]), 1, "expects position 1"),
        (pb.Request(closes=np.array([9], "<u4").tobytes()), 9, "not opened"),
        (pb.Request(closes=b"\1"), None, "cut short"),
        (pb.Request(cancels=pb.Cancels(keys=b"\1\0\0\0")), None, "cancels"),
    ],
)
def test_a_bad_frame_is_answered_and_nothing_else_happens(
    frame: pb.Request | bytes, key: int | None, word: str
) -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            await wire.ask(stepping([(1, 0, [1])]), 1)
            (error,) = (await wire.ask(frame, 1)).errors
            assert (error.key if error.HasField("key") else None) == key
            assert word in error.message
            assert sums(await wire.ask(stepping([(1, 1, [1])]), 1)) == {1: [2]}

    run(test())


def test_lengths_whose_sum_overflows_are_refused() -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1, 2, 3), 3)
            frame = stepping([(1, 0, [1]), (2, 0, [1]), (3, 0, [1])])
            frame.steps.lengths = np.array([2**63 - 1, 2**63 - 1, 5], "<i8").tobytes()
            reply = await wire.ask(frame, 3)
            assert {e.code for e in reply.errors} == {pb.INVALID_INPUT}
            assert sums(await wire.ask(stepping([(1, 0, [1])]), 1)) == {1: [1]}

    run(test())


def test_beyond_the_bounds_rows_are_refused_at_once_with_a_hint() -> None:
    async def test() -> None:
        clock, engine = Clock(), HeldEngine(40)
        async with serving(Models([model(clock, engine=engine, queued=3)]), clock, connection_rows=2) as (channel, _):
            first, second = Wire(channel), Wire(channel)
            await first.ask(opens(1, 2), 2)
            await second.ask(opens(3, 4), 2)
            await first.send(stepping([(1, 0, [1])]))
            await asyncio.to_thread(engine.asked.wait, 20)
            reply = await first.ask(stepping([(1, 1, [1]), (2, 0, [1])]), 2)  # three on this connection
            assert {(e.code, e.retry_after_ms > 0) for e in reply.errors} == {(pb.OVERLOADED, True)}
            await first.send(stepping([(2, 0, [1])]))
            reply = await second.ask(stepping([(3, 0, [1]), (4, 0, [1])]), 2)  # four of this model
            assert {e.code for e in reply.errors} == {pb.OVERLOADED}
            engine.let.set()
            assert sums(await second.ask(stepping([(3, 0, [7])]), 1)) == {3: [7]}

    run(test())


def test_a_frame_that_no_queue_can_hold_is_told_the_bound() -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock, connection_rows=2) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1, 2, 3), 3)
            reply = await wire.ask(stepping([(1, 0, [1]), (2, 0, [1]), (3, 0, [1])]), 3)
            assert {(e.code, e.HasField("retry_after_ms")) for e in reply.errors} == {(pb.INVALID_INPUT, False)}
            assert "at most 2 rows in a frame" in reply.errors[0].message
            assert sums(await wire.ask(stepping([(1, 0, [1]), (2, 0, [1])]), 2)) == {1: [1], 2: [1]}

    run(test())


def test_a_client_that_is_done_gets_all_its_answers() -> None:
    async def test() -> None:
        clock, engine = Clock(), HeldEngine(40)
        async with serving(Models([model(clock, engine=engine)]), clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            await wire.send(stepping([(1, 0, [1]), (1, 1, [2])]))
            end = asyncio.create_task(wire.done())
            await asyncio.to_thread(engine.asked.wait, 20)
            engine.let.set()
            merged = pb.Reply()
            for reply in await end:
                merged.MergeFrom(reply)
            assert sums(merged) == {1: [1, 3]}

    run(test())


def test_a_connection_that_breaks_leaves_its_sequences_to_be_resumed() -> None:
    async def test() -> None:
        clock = Clock()
        models = Models([model(clock)])
        async with serving(models, clock) as (channel, _):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            await wire.ask(stepping([(1, 0, [1])]), 1)
            wire.cancel()
            (opened,) = (await Wire(channel).ask(opens(5, model="sum", mode=pb.FRESH), 1)).opened
            assert opened.key == 5
            again = pb.Request(
                opens=[pb.Open(key=1, model="sum", id="s1", incarnation=2)]
            )  # idempotent: same incarnation
            (opened,) = (await Wire(channel).ask(again, 1)).opened
            assert (opened.position, opened.resumed) == (1, True)

    run(test())


def test_draining_refuses_new_work_answers_the_old_and_ends_the_streams() -> None:
    async def test() -> None:
        clock, engine = Clock(), HeldEngine(40)
        models = Models([model(clock, engine=engine)])
        async with serving(models, clock) as (channel, service):
            wire = Wire(channel)
            await wire.ask(opens(1), 1)
            await wire.send(stepping([(1, 0, [1])]))
            await asyncio.to_thread(engine.asked.wait, 20)
            drained = asyncio.create_task(models.drain())
            await asyncio.sleep(0)
            reply = await wire.ask(stepping([(1, 1, [1])]), 1)
            assert [e.code for e in reply.errors] == [pb.UNAVAILABLE]
            engine.let.set()
            await drained
            assert sums(await wire.read()) == {1: [1]}
            service.finish()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await wire.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE

    run(test())


def test_models_are_listed_with_their_specs() -> None:
    async def test() -> None:
        clock = Clock()
        async with serving(Models([model(clock)]), clock) as (channel, _):
            method = channel.unary_unary(
                "/headrace.v1.Sequences/Models", response_deserializer=pb.ModelsReply.FromString
            )
            (found,) = (await method(b"")).models
            assert (found.name, found.version, found.device) == ("sum", "1", "CPU")
            assert ModelSpec.from_json(found.spec) == SUM

    run(test())
