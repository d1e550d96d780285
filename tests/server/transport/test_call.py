"""What a handler can do and hears, and what its client hears of it, over a connection without a network."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any
from urllib.parse import unquote

import grpc
import pytest

from headrace.server.transport.call import UNSENT
from headrace.server.transport.messages import framed

from .frames import CANCEL, DATA, HEADERS, NO_ERROR, RST_STREAM, WINDOW_SIZE, data, needs_nghttp2, reset, window
from .peer import ECHO, Peer, body, one_by_one, rest, run, status, streaming, terms, unary, wait

pytestmark = needs_nghttp2

Status = grpc.StatusCode


class Kept:
    """A handler that waits, and tells how it ended."""

    def __init__(self) -> None:
        self.context: Any = None
        self.ended = list[bool]()  # whether the client was gone

    async def handle(self, requests: Any, context: Any) -> None:
        self.context = context
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(context.cancelled())


def number(status: grpc.StatusCode) -> int:
    return int(status.value[0])


def test_answers_stand_between_headers_and_trailers() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1, ECHO, b"one", b"", b"three", ends=True)
        first, *middle, last = await peer.answers()
        assert (first.kind, first.ends, first.headers[b":status"]) == (HEADERS, False, b"200")
        assert first.headers[b"content-type"] == b"application/grpc"
        assert {frame.kind for frame in middle} == {DATA}
        assert body(middle) == framed(b"one") + framed(b"") + framed(b"three")
        assert (last.kind, last.headers) == (HEADERS, {b"grpc-status": b"0"})

    run(test())


def test_a_call_answers_while_its_client_still_sends() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1)
        for word in (b"one", b"two"):
            peer.send(data(1, framed(word)))
            assert body(await peer.answers()) == framed(word)
        peer.send(data(1, b"", ends=True))
        assert status(await peer.answers()) == (0, "")

    run(test())


async def two(messages: Any, context: Any) -> None:
    for word in (b"a", b"b"):
        await context.write(word)


async def last(messages: Any, context: Any) -> bytes:
    return [message async for message in one_by_one(messages)][-1]


@pytest.mark.parametrize(
    ("handler", "sent", "answers"),
    [
        (grpc.unary_unary_rpc_method_handler(lambda message, context: asyncio.sleep(0, message)), [b"a"], [b"a"]),
        (grpc.unary_stream_rpc_method_handler(two), [b"a"], [b"a", b"b"]),
        (grpc.stream_unary_rpc_method_handler(last), [b"a", b"b"], [b"b"]),
        (grpc.stream_stream_rpc_method_handler(two), [], [b"a", b"b"]),
    ],
)
def test_all_four_kinds_of_calls_are_served(handler: Any, sent: list[bytes], answers: list[bytes]) -> None:
    async def test() -> None:
        peer = Peer(terms({ECHO: handler}))
        peer.begin(1, ECHO, *sent, ends=True)
        found = await peer.answers()
        assert body(found) == b"".join(map(framed, answers)) and status(found) == (0, "")

    run(test())


def test_serializers_are_used() -> None:
    async def test() -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            lambda text, context: asyncio.sleep(0, text.upper()), lambda raw: raw.decode(), lambda text: text.encode()
        )
        peer = Peer(terms({ECHO: handler}))
        peer.begin(1, ECHO, b"word", ends=True)
        assert body(await peer.answers()) == framed(b"WORD")

    run(test())


# How a call ends


@pytest.mark.parametrize("begun", [False, True])
def test_abort_tells_its_status_behind_what_was_written(begun: bool) -> None:
    async def handle(messages: Any, context: Any) -> None:
        if begun:
            await context.write(b"word")
        await context.abort(Status.NOT_FOUND, "gibt's nicht: 50 % \u00fc\n", (("retry-after-us", "7"), ("why", "x")))

    async def test() -> None:
        peer = Peer(terms(streaming(handle)))
        peer.begin(1, ends=True)
        found = await peer.answers()
        assert len([frame for frame in found if frame.kind == HEADERS]) == 1 + begun  # or trailers only
        assert body(found) == (framed(b"word") if begun else b"")
        code, sentence = status(found)
        assert (code, unquote(sentence)) == (number(Status.NOT_FOUND), "gibt's nicht: 50 % \u00fc\n")
        assert found[-1].headers[b"retry-after-us"] == b"7" and found[-1].headers[b"why"] == b"x"

    run(test())


def test_a_handler_that_fails_is_logged_and_its_client_told(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(message: bytes, context: Any) -> bytes:
        raise KeyError("missing")

    async def test() -> None:
        peer = Peer(terms(unary(handle)))
        peer.begin(1, ECHO, b"word", ends=True)
        code, sentence = status(await peer.answers())
        assert code == number(Status.UNKNOWN) and "KeyError('missing')" in sentence
        assert "KeyError" in caplog.text
        peer.begin(3, ECHO, b"word", ends=True)
        assert status(await peer.answers(3))[0] == number(Status.UNKNOWN)  # the connection lives

    run(test())


def test_a_sentence_that_is_no_unicode_is_still_told() -> None:
    async def handle(message: bytes, context: Any) -> bytes:
        await context.abort(Status.INVALID_ARGUMENT, "a file \udcff")

    async def test() -> None:
        peer = Peer(terms(unary(handle)))
        peer.begin(1, ECHO, b"word", ends=True)
        assert status(await peer.answers())[0] == number(Status.INVALID_ARGUMENT)

    run(test())


def test_a_handler_that_was_cancelled_by_others_ends_its_call() -> None:
    async def handle(message: bytes, context: Any) -> bytes:
        raise asyncio.CancelledError

    async def test() -> None:
        peer = Peer(terms(unary(handle)))
        peer.begin(1, ECHO, b"word", ends=True)
        assert status(await peer.answers())[0] == number(Status.CANCELLED)

    run(test())


def test_a_handler_that_ends_before_its_client_asks_it_for_no_more() -> None:
    async def handle(messages: Any, context: Any) -> None:
        await context.write(await anext(one_by_one(messages)))

    async def test() -> None:
        peer = Peer(terms(streaming(handle)))
        peer.begin(1, ECHO, b"one", b"two")
        found = await peer.answers()
        assert status(found[:-1]) == (0, "") and body(found) == framed(b"one")
        assert (found[-1].kind, found[-1].number) == (RST_STREAM, NO_ERROR)
        peer.send(data(1, framed(b"late")))
        peer.begin(3, ECHO, b"next")
        assert body(await peer.answers(3)) == framed(b"next")

    run(test())


# Deadlines


def test_a_deadline_ends_the_call_and_its_handler_at_its_time() -> None:
    async def test() -> None:
        kept = Kept()
        peer = Peer(terms(streaming(kept.handle)))
        peer.begin(1, grpc_timeout=b"1500m")
        await wait(0.5)
        assert kept.context.time_remaining() == pytest.approx(1.0)
        await wait(0.99)
        assert await peer.answers() == [] and kept.ended == []
        await wait(0.02)
        assert status([f for f in await peer.answers() if f.kind == HEADERS])[0] == number(Status.DEADLINE_EXCEEDED)
        assert kept.ended == [False] and kept.context.time_remaining() == 0.0

    run(test())


def test_a_call_without_deadline_has_no_end_of_its_own() -> None:
    async def test() -> None:
        kept = Kept()
        peer = Peer(terms(streaming(kept.handle), silence=1e9))
        peer.begin(1)
        await wait(1e6)
        assert kept.context.time_remaining() is None and kept.ended == []
        assert repr(kept.context) == "Call(Requests(waiting=0, unread=0, complete=False), over=False)"
        await peer.leave()

    run(test())


def test_a_deadline_that_passed_before_the_first_request_ends_the_call() -> None:
    async def test() -> None:
        peer = Peer(terms(unary(lambda message, context: asyncio.sleep(0, message))))
        peer.begin(1, grpc_timeout=b"1S")
        await wait(1.5)
        found = await peer.answers()
        assert status(found)[0] == number(Status.DEADLINE_EXCEEDED)

    run(test())


@pytest.mark.parametrize("cut", [False, True])
def test_a_call_that_is_over_is_in_no_cycle_and_not_kept_until_its_deadline(cut: bool) -> None:
    """Else what clients sent and nobody read would wait for a collector that looks seldom."""

    async def test() -> None:
        calls = []

        async def handle(messages: Any, context: Any) -> None:
            calls.append(weakref.ref(context))
            async for message in one_by_one(messages):
                await context.write(message)

        peer = Peer(terms(streaming(handle)))
        peer.begin(1, ECHO, b"word", ends=not cut, grpc_timeout=b"9H")
        assert body(await peer.answers()) == framed(b"word")
        if cut:
            peer.send(data(1, framed(b"half of a message")[:9]), reset(1))
        await rest()
        assert calls[0]() is None

    gc.disable()
    try:
        run(test())
    finally:
        gc.enable()


# A client that goes


def test_what_a_handler_does_at_its_end_is_not_interrupted_when_its_stream_closes_too() -> None:
    async def test() -> None:
        ended = []

        async def handle(messages: Any, context: Any) -> None:
            try:
                await context.write(bytes(2 * UNSENT))
            finally:
                await rest()
                ended.append(True)

        peer = Peer(terms(streaming(handle)))
        peer.connection.pause_writing()
        peer.begin(1, grpc_timeout=b"1S")
        await wait(1)
        peer.connection.resume_writing()  # now the stream's reset goes out, and it closes
        await rest()
        await rest()
        assert ended == [True]

    run(test())


@pytest.mark.parametrize("cut", [False, True])
def test_a_handler_whose_client_goes_is_cancelled_and_can_tell(cut: bool) -> None:
    async def test() -> None:
        kept = Kept()
        peer = Peer(terms(streaming(kept.handle)))
        peer.begin(1)
        await rest()
        assert not kept.context.cancelled()
        if cut:
            await peer.leave()
        else:
            peer.send(reset(1))
        await rest()
        assert kept.ended == [True] and not peer.terms.tasks
        with pytest.raises(asyncio.CancelledError):
            await kept.context.write(b"too late")
        if not cut:
            peer.begin(3)
            await peer.answers(3)
            assert len(peer.terms.tasks) == 1  # the connection lives
            await peer.leave()

    run(test())


def test_a_client_that_has_all_is_not_gone() -> None:
    async def test() -> None:
        contexts = []

        async def handle(message: bytes, context: Any) -> bytes:
            contexts.append(context)
            return message

        peer = Peer(terms(unary(handle)))
        peer.begin(1, ECHO, b"word", ends=True)
        assert status(await peer.answers()) == (0, "")
        assert not contexts[0].cancelled() and not peer.terms.tasks

    run(test())


# A client that does not read


class Writer:
    """A handler that writes without end, and counts."""

    def __init__(self, size: int) -> None:
        self.size, self.written, self.ended = size, 0, False

    async def handle(self, messages: Any, context: Any) -> None:
        try:
            while True:
                await context.write(bytes(self.size))
                self.written += self.size
                await asyncio.sleep(0)
        finally:
            self.ended = True


def test_a_handler_writes_no_faster_than_its_client_reads() -> None:
    async def test() -> None:
        writer = Writer(10_000)
        peer = Peer(terms(streaming(writer.handle)), {WINDOW_SIZE: 0})
        peer.send(window(0, 1 << 20))
        peer.begin(1)
        await rest()
        before = writer.written
        assert UNSENT - 10_005 <= before <= UNSENT
        assert [frame.kind for frame in await peer.answers()] == [HEADERS]
        peer.send(window(1, 50_000))
        assert len(body(await peer.answers())) == 50_000
        assert writer.written == before  # it goes on with all that was written
        peer.send(window(1, 15_000))
        assert len(body(await peer.answers())) == 15_000
        peer.send(window(1, 50_000))
        await rest()
        assert before < writer.written <= before + 2 * UNSENT
        peer.send(reset(1))
        await rest()
        assert writer.ended

    run(test())


@pytest.mark.parametrize("over", [False, True])
def test_what_is_not_read_is_dropped_at_the_deadline(over: bool) -> None:
    """Whether its handler still writes, or has written all."""

    async def one(messages: Any, context: Any) -> None:
        contexts.append(weakref.ref(context))
        await context.write(bytes(10_000))

    async def test() -> None:
        writer = Writer(10_000)
        peer = Peer(terms(streaming(one if over else writer.handle)), {WINDOW_SIZE: 0})
        peer.begin(1, grpc_timeout=b"1S", ends=True)
        assert [frame.kind for frame in await peer.answers()] == [HEADERS]  # it waits for the client
        await wait(2.0)
        assert writer.ended != over and not peer.terms.tasks
        (reset_,) = await peer.answers()
        assert (reset_.kind, reset_.number) == (RST_STREAM, CANCEL)
        gc.collect()
        assert [context() for context in contexts] == [None] * over

    contexts: list[Any] = []
    run(test())


def test_what_was_written_arrives_although_its_handler_has_ended() -> None:
    async def one(messages: Any, context: Any) -> None:
        await context.write(bytes(10_000))

    async def test() -> None:
        peer = Peer(terms(streaming(one)), {WINDOW_SIZE: 0})
        peer.begin(1, ends=True)
        assert [frame.kind for frame in await peer.answers()] == [HEADERS] and not peer.terms.tasks
        peer.send(window(1, 1 << 20))
        found = await peer.answers()
        assert body(found) == framed(bytes(10_000)) and status(found) == (0, "")

    run(test())
