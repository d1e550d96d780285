"""What a client may send ahead of a handler, over a connection without a network."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import grpc
import pytest

from headrace.server.transport.messages import framed
from headrace.server.transport.requests import IN_A_ROW, UNREAD
from headrace.server.transport.session import CONNECTION_WINDOW, STREAM_WINDOW

from .frames import WINDOW_UPDATE, data, needs_nghttp2, request, reset
from .peer import ECHO, Peer, body, echo, one_by_one, rest, run, status, streaming, terms, unary

pytestmark = needs_nghttp2

PIECE = 1 << 16


class Sender:
    """A client that sends as much as it may, and no more. Mutable: `room`, what it may still send."""

    def __init__(self, peer: Peer) -> None:
        self._peer, self.room = peer, STREAM_WINDOW
        peer.send(request(1, ECHO))

    async def send(self, wire: bytes) -> int:
        """Returns how much of it may go."""
        sent = 0
        self._listen()
        while size := min(self.room, PIECE, len(wire) - sent):
            self._peer.send(data(1, wire[sent : sent + size]))
            sent, self.room = sent + size, self.room - size
            await rest()
            self._listen()
        return sent

    def _listen(self) -> None:
        for frame in self._peer.heard():
            if frame.kind == WINDOW_UPDATE and frame.stream == 1:
                self.room += frame.number


class Slow:
    """A handler that reads when it may."""

    def __init__(self) -> None:
        self.may, self.read = asyncio.Event(), list[int]()

    async def handle(self, requests: Any, context: Any) -> None:
        await self.may.wait()
        async for message in one_by_one(requests):
            self.read.append(len(message))


def test_a_client_is_held_up_by_a_handler_that_does_not_read_and_goes_on_when_it_does() -> None:
    async def test() -> None:
        slow, message = Slow(), framed(bytes(10_000))
        sender = Sender(Peer(terms(streaming(slow.handle))))
        sent = await sender.send(400 * message)
        assert STREAM_WINDOW <= sent <= STREAM_WINDOW + UNREAD + PIECE
        slow.may.set()
        await rest()
        assert await sender.send((400 * message)[sent:]) == len(400 * message) - sent
        assert slow.read == [10_000] * 400

    run(test())


def test_who_is_held_up_holds_up_no_other_call_on_its_connection() -> None:
    async def test() -> None:
        slow = Slow()
        other = unary(lambda message, context: asyncio.sleep(0, message))[ECHO]
        peer = Peer(terms({**streaming(slow.handle), "/test/Other": other}))
        free, held = CONNECTION_WINDOW, range(1, 41, 2)
        for stream in held:  # more than the connection's window, of which nothing is read
            peer.begin(stream, ECHO, b"first", bytes(STREAM_WINDOW - 1000))
            await rest()
            free += sum(f.number for f in peer.heard() if f.kind == WINDOW_UPDATE and f.stream == 0) - STREAM_WINDOW
        assert slow.read == [] and free >= CONNECTION_WINDOW // 2
        peer.begin(51, "/test/Other", b"word", ends=True)
        assert body(await peer.answers(51)) == framed(b"word")
        await peer.leave()

    run(test())


def test_a_message_larger_than_any_window_arrives() -> None:
    async def test() -> None:
        slow = Slow()
        slow.may.set()
        sender, wire = Sender(Peer(terms(streaming(slow.handle)))), framed(bytes(3 * STREAM_WINDOW))
        assert await sender.send(wire) == len(wire)
        assert slow.read == [3 * STREAM_WINDOW]

    run(test())


def test_a_message_larger_than_any_window_arrives_behind_others_that_were_not_read_at_once() -> None:
    async def test() -> None:
        slow = Slow()
        sender, wire = Sender(Peer(terms(streaming(slow.handle)))), framed(b"first") + framed(bytes(3 * STREAM_WINDOW))
        sent = await sender.send(wire)
        assert sent < len(wire)
        slow.may.set()
        await rest()
        sent += await sender.send(wire[sent:])
        assert sent == len(wire) and slow.read == [5, 3 * STREAM_WINDOW]

    run(test())


def test_many_small_messages_leave_others_their_turns() -> None:
    async def test() -> None:
        slow, count = Slow(), STREAM_WINDOW // 10
        peer = Peer(terms({**streaming(slow.handle), "/test/Other": grpc.stream_stream_rpc_method_handler(echo)}))
        peer.begin(1, ECHO, *(b"small" for _ in range(count)))  # at once: that takes longer than a turn may
        peer.begin(3, "/test/Other", b"word")
        assert not peer.socket.reading
        found = await peer.answers(3)
        while not body(found):
            found += await peer.answers(3)
        assert peer.socket.reading
        slow.may.set()
        turns = 0
        while len(slow.read) < count:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= count // (IN_A_ROW + 1) and slow.read == [5] * count
        await peer.leave()

    run(test())


def test_all_that_was_counted_is_taken_back() -> None:
    async def handle(requests: Any, context: Any) -> None:
        contexts.append(context)
        await echo(requests, context)

    async def test() -> None:
        peer = Peer(terms(streaming(handle)))
        wire = framed(b"") + framed(bytes(300)) + framed(b"x")
        peer.begin(1)
        for at in range(0, len(wire), 7):
            peer.send(data(1, wire[at : at + 7]))
            await rest()
        assert repr(contexts[0]) == "Call(Requests(waiting=0, unread=0, complete=False), over=False)"
        await peer.leave()

    contexts: list[Any] = []
    run(test())


def test_no_more_of_a_message_is_taken_than_the_limit() -> None:
    async def test() -> None:
        slow = Slow()
        slow.may.set()
        peer = Peer(terms(streaming(slow.handle), most=1000))
        peer.begin(1, ECHO, bytes(1000))
        assert await peer.answers() == [] and slow.read == [1000]
        peer.send(data(1, framed(bytes(1001))[:6]))
        assert status(await peer.answers()) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
            "a message of 1001 bytes is over the limit of 1000",
        )

    run(test())


def test_a_compressed_request_is_unpacked_when_it_is_read() -> None:
    async def test() -> None:
        peer = Peer(terms(most=1000))
        packed = gzip.compress(bytes(1000))
        peer.send(request(1, ECHO, grpc_encoding=b"gzip"))
        peer.send(data(1, b"\1" + framed(packed)[1:]))
        assert body(await peer.answers()) == framed(bytes(1000))
        bomb = gzip.compress(bytes(1001))
        peer.send(data(1, b"\1" + framed(bomb)[1:]))
        assert status(await peer.answers())[0] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]

    run(test())


def test_a_request_that_is_cut_short_ends_its_call() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.send(request(1, ECHO), data(1, framed(b"whole") + framed(b"half")[:-1], ends=True))
        found = await peer.answers()
        assert body(found) == framed(b"whole")
        assert status(found) == (grpc.StatusCode.INTERNAL.value[0], "the last message is cut short")

    run(test())


def test_a_request_that_cannot_be_decoded_ends_its_call() -> None:
    async def test() -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            lambda text, context: asyncio.sleep(0, b""), request_deserializer=lambda raw: raw.decode("ascii")
        )
        peer = Peer(terms({ECHO: handler}))
        peer.begin(1, ECHO, b"\xff\xff", ends=True)
        assert status(await peer.answers()) == (
            grpc.StatusCode.INTERNAL.value[0],
            "a message of 2 bytes cannot be read",
        )

    run(test())


@pytest.mark.parametrize("messages", [(), (b"one", b"two")])
def test_a_call_of_one_message_takes_no_other_number(messages: tuple[bytes, ...]) -> None:
    async def test() -> None:
        asked = []
        peer = Peer(terms(unary(lambda message, context: asked.append(message))))
        peer.begin(1, ECHO, *messages, ends=True)
        assert status(await peer.answers())[0] == grpc.StatusCode.UNIMPLEMENTED.value[0]
        assert asked == []

    run(test())


def test_a_call_of_one_message_does_not_gather_others_without_end() -> None:
    async def test() -> None:
        peer = Peer(terms(unary(lambda message, context: asyncio.sleep(0, message))))
        peer.begin(1, ECHO, b"one", b"two")  # and it goes on
        assert status(await peer.answers())[0] == grpc.StatusCode.UNIMPLEMENTED.value[0]

    run(test())


def test_a_reader_that_lets_others_have_their_turn_outlives_a_client_that_goes_in_it() -> None:
    """Readers may be tasks of their own, that nobody cancels."""

    async def test() -> None:
        readers, read, many = list[asyncio.Task[None]](), list[bytes](), asyncio.Event()

        async def handle(messages: Any, context: Any) -> None:
            async def reader() -> None:
                async for message in one_by_one(messages):
                    read.append(message)
                    if len(read) == IN_A_ROW:
                        many.set()

            readers.append(asyncio.create_task(reader()))
            await asyncio.wait(readers)

        peer = Peer(terms(streaming(handle)))
        peer.begin(1, ECHO, *[b"word"] * 3 * IN_A_ROW)
        await many.wait()
        peer.send(reset(1))
        await rest()
        assert len(read) == IN_A_ROW and readers[0].done() and readers[0].exception() is None

    run(test())
