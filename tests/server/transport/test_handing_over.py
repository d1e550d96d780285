"""Requests reach a handler while their connection is read, without a turn of the event loop in between."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import grpc

from headrace.server.transport.messages import AT_ONCE, framed
from headrace.server.transport.requests import IN_A_ROW

from .frames import data, needs_nghttp2, reset
from .peer import ECHO, Peer, rest, run, status, streaming, terms

pytestmark = needs_nghttp2


class Eager:
    """A handler that takes what comes, at once, until it has `most`. Mutable: `taken`; `more`, what it heard then."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.taken, self.more, self._most = list[bytes](), list[bool](), most

    async def handle(self, requests: Any, context: Any) -> None:
        self.more.append(await requests.each(self.take))
        await asyncio.Event().wait()

    def take(self, message: bytes) -> bool:
        self.taken.append(message)
        return len(self.taken) < self._most


async def taken_by(eager: Eager, **headers: bytes) -> Peer:
    """A call that it handles."""
    peer = Peer(terms(streaming(eager.handle)))
    peer.begin(1, **headers)
    await rest()
    return peer


def test_what_comes_is_handed_over_while_its_connection_is_read() -> None:
    async def test() -> None:
        peer = await taken_by(eager := Eager())
        peer.send(data(1, framed(b"one") + framed(b"two")))
        assert eager.taken == [b"one", b"two"]
        peer.send(data(1, framed(b"three"), ends=True))
        assert eager.taken == [b"one", b"two", b"three"] and eager.more == []
        await rest()
        assert eager.more == [False]
        await peer.leave()

    run(test())


def test_a_handler_that_has_enough_gets_no_more() -> None:
    async def test() -> None:
        peer = await taken_by(eager := Eager(most=2))
        peer.send(data(1, framed(b"one") + framed(b"two") + framed(b"three"), ends=True))
        await rest()
        assert eager.taken == [b"one", b"two"] and eager.more == [True]
        await peer.leave()

    run(test())


def test_only_so_many_are_handed_over_before_others_have_their_turn() -> None:
    async def test() -> None:
        peer = await taken_by(eager := Eager())
        peer.send(data(1, framed(b"word") * 3 * IN_A_ROW, ends=True))
        assert len(eager.taken) == IN_A_ROW
        await asyncio.sleep(0)
        assert len(eager.taken) == 2 * IN_A_ROW
        await rest()
        assert len(eager.taken) == 3 * IN_A_ROW and eager.more == [False]
        await peer.leave()

    run(test())


def test_of_compressed_ones_no_more_are_handed_over_in_a_row_either() -> None:
    async def test() -> None:
        peer = await taken_by(eager := Eager(), grpc_encoding=b"gzip")
        packed = b"\1" + framed(gzip.compress(b"word"))[1:]
        peer.send(data(1, packed * 3 * IN_A_ROW, ends=True))
        most = 0
        while not eager.more:
            before = len(eager.taken)
            await asyncio.sleep(0)
            most = max(most, len(eager.taken) - before)
        assert most == IN_A_ROW and eager.taken == [b"word"] * 3 * IN_A_ROW
        await peer.leave()

    run(test())


def test_what_comes_behind_a_compressed_request_waits_for_it() -> None:
    async def test() -> None:
        peer = await taken_by(eager := Eager(), grpc_encoding=b"gzip")
        plain = bytes(2 * AT_ONCE)
        packed = b"\1" + framed(gzip.compress(plain))[1:]
        peer.send(data(1, framed(b"first") + packed + framed(b"last")))
        assert eager.taken == [b"first"]
        await asyncio.sleep(0)  # now a thread unpacks it
        peer.send(data(1, framed(b"later")))
        while len(eager.taken) < 4:
            await rest()
        assert eager.taken == [b"first", plain, b"last", b"later"]
        await peer.leave()

    run(test())


def test_behind_what_is_no_request_nothing_is_handed_over() -> None:
    async def test() -> None:
        peer = await taken_by(eager := Eager())
        peer.send(data(1, framed(b"one")))
        peer.send(data(1, b"\2"), data(1, framed(b"two")[1:] + framed(b"three")))
        assert status(await peer.answers())[0] == grpc.StatusCode.INTERNAL.value[0]
        assert eager.taken == [b"one"] and not peer.terms.tasks

    run(test())


def test_behind_what_cannot_be_decoded_nothing_is_handed_over_either() -> None:
    async def test() -> None:
        may, taken = asyncio.Event(), list[str]()

        async def handle(requests: Any, context: Any) -> None:
            await may.wait()
            while await requests.each(lambda word: taken.append(word) or True):
                pass

        handler = grpc.stream_stream_rpc_method_handler(handle, lambda raw: raw.decode("ascii"))
        peer = Peer(terms({ECHO: handler}))
        peer.begin(1, ECHO, b"one", b"\xff", b"three")
        peer.connection.pause_writing()  # so that the call cannot be over at once
        may.set()
        await rest()
        assert taken == ["one"]
        peer.connection.resume_writing()
        assert status(await peer.answers())[0] == grpc.StatusCode.INTERNAL.value[0]

    run(test())


def test_who_is_not_waiting_any_more_gets_nothing() -> None:
    async def test() -> None:
        taken = list[bytes]()

        async def handle(requests: Any, context: Any) -> None:
            reader = asyncio.create_task(requests.each(lambda word: taken.append(word) or True))
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.Event().wait()

        peer = Peer(terms(streaming(handle)))
        peer.begin(1, ECHO, b"one")
        await rest()
        peer.send(data(1, framed(b"two")))
        await rest()
        assert taken == [b"one"]
        await peer.leave()

    run(test())


def test_once_a_client_is_gone_nothing_is_handed_over() -> None:
    async def test() -> None:
        peer = await taken_by(eager := Eager())
        peer.send(data(1, framed(b"word") * 2 * IN_A_ROW), reset(1))
        await rest()
        assert len(eager.taken) == IN_A_ROW and not peer.terms.tasks

    run(test())
