"""A connection's calls, its silence, its socket and its end, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from headrace.server.transport.messages import framed

from .frames import (
    ACK,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    RST_STREAM,
    data,
    frame,
    needs_nghttp2,
    request,
    reset,
)
from .peer import ECHO, SILENCE, Peer, body, rest, run, status, streaming, terms, unary, wait

pytestmark = needs_nghttp2


async def echoed(message: bytes, context: Any) -> bytes:
    return message


def goodbyes(peer: Peer) -> list[int]:
    """The last call that each of the server's goodbyes takes."""
    return [int.from_bytes(found.payload[:4], "big") for found in peer.heard() if found.kind == GOAWAY]


# Calls that are none


@pytest.mark.parametrize("ends", [False, True])
def test_an_unknown_method_is_told_as_such_with_trailers_only(ends: bool) -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1, "/no/Such", b"word", ends=ends)
        first, *rest_ = await peer.answers()
        assert status([first]) == (grpc.StatusCode.UNIMPLEMENTED.value[0], "there is no method /no/Such")
        assert first.headers[b":status"] == b"200" and first.headers[b"content-type"] == b"application/grpc"
        assert [(f.kind, f.number) for f in rest_] == ([] if ends else [(RST_STREAM, NO_ERROR)])
        assert not peer.terms.tasks

    run(test())


def test_what_is_not_grpc_is_answered_as_http_does() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1, ends=True, content_type=b"application/json")
        (answer,) = await peer.answers()
        assert answer.ends and answer.headers == {b":status": b"415"}

    run(test())


def test_a_browser_is_told_how_to_ask() -> None:
    async def test() -> None:
        peer = Peer(terms())
        asked = request(1, ECHO, ends=True).replace(b"\x04POST", b"\x03GET")  # one byte less, of which the frame knows
        peer.send(frame(HEADERS, asked[9:], flags=END_HEADERS | 1, stream=1))
        (answer,) = await peer.answers()
        assert answer.headers == {b":status": b"405", b"allow": b"POST"}

    run(test())


@pytest.mark.parametrize("wrong", [{"grpc_timeout": b"soon"}, {"grpc_encoding": b"zstd"}])
def test_a_head_that_cannot_be_read_ends_its_call_and_no_other(wrong: dict[str, bytes]) -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1, ECHO, b"word", ends=True, **wrong)
        assert status(await peer.answers())[0] != 0
        peer.begin(3, ECHO, b"word", ends=True)
        assert status(await peer.answers(3)) == (0, "")

    run(test())


def test_calls_of_a_connection_run_beside_each_other() -> None:
    async def test() -> None:
        peer = Peer(terms())
        for stream in range(1, 41, 2):
            peer.begin(stream)
        assert repr(peer.connection) == "Connection(calls=20)"
        for stream in reversed(range(1, 41, 2)):
            peer.send(data(stream, framed(b"%d" % stream), ends=True))
            found = await peer.answers(stream)
            assert body(found) == framed(b"%d" % stream) and status(found) == (0, "")
        assert repr(peer.connection) == "Connection(calls=0)" and not peer.terms.tasks

    run(test())


# Silence


def asked(peer: Peer) -> list[bytes]:
    return [found.payload for found in peer.heard() if found.kind == PING and not found.flags & ACK]


def test_a_silent_client_is_asked_once_and_then_given_up() -> None:
    async def test() -> None:
        gone = list[bool]()

        async def handle(messages: Any, context: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                gone.append(context.cancelled())

        peer = Peer(terms(streaming(handle)))
        peer.begin(1)
        await wait(SILENCE + 1)
        assert asked(peer) == []  # it spoke since the last look
        await wait(SILENCE - 2)
        assert asked(peer) == []
        await wait(2)
        assert len(asked(peer)) == 1 and not peer.socket.aborted
        await wait(SILENCE + 1)
        assert peer.socket.aborted and gone == [True] and not peer.terms.connections

    run(test())


def test_a_client_that_answers_is_kept_for_ever_and_asked_again() -> None:
    async def test() -> None:
        peer = Peer(terms())
        await wait(SILENCE + 1)
        for _ in range(5):
            await wait(SILENCE)
            (question,) = asked(peer)
            peer.send(frame(PING, question, flags=ACK))
            await wait(SILENCE)
            assert asked(peer) == [] and not peer.socket.closed
        await peer.leave()

    run(test())


def test_nobody_is_asked_once_the_connection_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        peer = Peer(terms())
        await peer.leave()
        for _ in range(4):
            await wait(2 * SILENCE)
        assert asked(peer) == [] and peer.connection.gone.is_set() and not caplog.records

    run(test())


# The socket


def test_a_socket_that_has_enough_is_given_no_more_until_it_asks() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.connection.pause_writing()
        peer.begin(1, ECHO, b"word")
        assert await peer.answers() == []
        peer.connection.resume_writing()
        assert body(await peer.answers()) == framed(b"word")

    run(test())


def test_rubbish_ends_the_connection() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1)
        await rest()
        peer.send(frame(PING, b"too short"[:3]))
        await rest()
        assert peer.socket.closed and not peer.terms.tasks and not peer.terms.connections
        peer.send(b"more")  # what the socket had read already is not heard

    run(test())


# The end


def test_a_connection_without_calls_goes_when_it_is_asked_to() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.heard()
        peer.connection.drain()
        assert goodbyes(peer)[-1] == 0 and peer.socket.closed and not peer.socket.aborted

    run(test())


def test_a_connection_with_calls_goes_with_the_last_of_them() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1, ECHO, b"one")
        await rest()
        peer.connection.drain()
        peer.begin(3, ECHO, b"other", ends=True)  # was on its way
        await rest()
        assert not peer.socket.closed
        peer.send(data(1, framed(b"two"), ends=True))
        await rest()
        found = peer.heard()
        assert body([f for f in found if f.stream == 1]) == framed(b"one") + framed(b"two")
        assert body([f for f in found if f.stream == 3]) == framed(b"other")
        assert [f.payload[:4] for f in found if f.kind == GOAWAY] == [b"\x7f\xff\xff\xff", (3).to_bytes(4, "big")]
        assert peer.socket.closed and not peer.socket.aborted

    run(test())


def test_a_connection_that_is_asked_to_go_goes_when_its_last_call_is_cancelled() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1)
        await rest()
        peer.connection.drain()
        peer.send(reset(1))
        await rest()
        assert peer.socket.closed and not peer.socket.aborted

    run(test())


def test_calls_that_do_not_end_are_told_that_the_server_does() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1, ECHO, b"one")
        await rest()
        peer.connection.drain()
        peer.connection.end()
        found = await peer.answers()
        assert status([f for f in found if f.kind == HEADERS])[0] == grpc.StatusCode.UNAVAILABLE.value[0]
        assert peer.socket.closed and not peer.terms.tasks

    run(test())


def test_a_client_that_says_goodbye_first_is_let_go() -> None:
    async def test() -> None:
        peer = Peer(terms(unary(echoed)))
        peer.begin(1, ECHO, b"one", ends=True)
        peer.send(frame(GOAWAY, bytes(8)))
        await rest()
        assert body([f for f in peer.heard() if f.stream == 1]) == framed(b"one")
        assert not peer.terms.tasks
        await peer.leave()

    run(test())


def test_who_said_goodbye_is_let_go_when_its_last_call_ends_by_itself() -> None:
    async def test() -> None:
        go = asyncio.Event()

        async def handle(message: bytes, context: Any) -> bytes:
            await go.wait()
            return message

        peer = Peer(terms(unary(handle)))
        peer.begin(1, ECHO, b"word", ends=True)
        peer.send(frame(GOAWAY, bytes(8)))
        await rest()
        assert not peer.socket.ended
        go.set()
        assert status(await peer.answers()) == (0, "")
        assert peer.socket.ended

    run(test())


def test_many_cancelled_calls_do_not_end_the_connection_of_others() -> None:
    async def test() -> None:
        peer = Peer(terms())
        peer.begin(1)
        for stream in range(3, 4003, 2):
            peer.send(request(stream, ECHO), reset(stream))
        assert goodbyes(peer) == []
        peer.send(data(1, framed(b"word")))
        assert body(await peer.answers()) == framed(b"word")

    run(test())


def test_who_comes_while_the_server_goes_is_sent_away() -> None:
    async def test() -> None:
        closing = terms()
        closing.closing.set()
        assert Peer(closing).socket.aborted

    run(test())
