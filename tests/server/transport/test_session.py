"""A connection without socket or calls: what a client sends is told, what is to be sent obeys the client's windows."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.server.transport.heads import RESPONSE
from headrace.server.transport.session import CONNECTION_WINDOW, FRAME, STREAM_WINDOW, STREAMS, ProtocolError, Session
from headrace.server.transport.session import HEADERS as HEADERS_SIZE
from headrace.server.transport.stream import Incoming, Stream

from .frames import (
    ACK,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_SIZE,
    WINDOW_UPDATE,
    Frame,
    Reader,
    data,
    frame,
    headers,
    needs_nghttp2,
    request,
    reset,
    settings,
    window,
)
from .peer import body

pytestmark = needs_nghttp2

TRAILERS = ((b"grpc-status", b"0"),)
LIMIT = 1 << 20


class Told:
    """Hears of one stream, and remembers; `failing` raises at data, as nothing should."""

    def __init__(self, stream: Stream, head: dict[bytes, bytes], *, failing: bool) -> None:
        self.stream, self.head, self._failing = stream, head, failing
        self.data, self.events = b"", list[str]()

    def receive(self, data: bytes) -> None:
        if self._failing:
            raise ValueError("a fault")
        self.data += data

    def end(self) -> None:
        self.events.append("end")

    def drained(self) -> None:
        self.events.append("drained")

    def leave(self) -> None:
        self.events.append("leave")


class Wire:
    """A session and its client. Streams that begin are in `told`, unless nobody wants to hear of them."""

    def __init__(self, *, window: int = 65_535, deaf: bool = False, failing: bool = False) -> None:
        self.told: dict[int, Told] = {}
        self._deaf, self._failing, self._reader = deaf, failing, Reader()
        self.streams: dict[int, Stream] = {}
        self.session = Session(self._begin)
        self.send(PREFACE, settings({WINDOW_SIZE: window}), frame(SETTINGS, flags=ACK))
        self.greeting = self.pulled()

    def _begin(self, stream: Stream, head: dict[bytes, bytes]) -> Incoming | None:
        self.streams[stream.number] = stream
        if self._deaf:
            return None
        told = self.told[stream.number] = Told(stream, head, failing=self._failing)
        return told

    def send(self, *frames: bytes) -> bool:
        return self.session.receive(b"".join(frames))

    def pulled(self, most: int = LIMIT) -> list[Frame]:
        return self._reader.read(self.session.pull(most))


def kinds(frames: list[Frame]) -> list[int]:
    return [found.kind for found in frames]


def granted(frames: list[Frame], stream: int) -> int:
    """Bytes more that the client may send."""
    return sum(found.number for found in frames if found.kind == WINDOW_UPDATE and found.stream == stream)


# What comes in


def test_the_greeting_tells_the_limits_and_acknowledges() -> None:
    greeting = Wire().greeting
    (own,) = [found for found in greeting if found.kind == SETTINGS and not found.flags & ACK]
    pairs = [own.payload[at : at + 6] for at in range(0, len(own.payload), 6)]
    limits = {int.from_bytes(pair[:2], "big"): int.from_bytes(pair[2:], "big") for pair in pairs}
    assert limits == {3: STREAMS, 4: STREAM_WINDOW, 5: FRAME, 6: HEADERS_SIZE}
    assert granted(greeting, 0) == CONNECTION_WINDOW - 65_535
    assert any(found.kind == SETTINGS and found.flags & ACK for found in greeting)


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(1, 60), st.booleans())
def test_a_request_is_told_the_same_however_its_bytes_are_cut(parts: list[bytes], size: int, trailed: bool) -> None:
    wire = Wire()
    end = headers(1, {b"more": b"1"}, ends=True) if trailed else data(1, b"", ends=True)
    sent = request(1, "/a/B", grpc_timeout=b"5S") + b"".join(data(1, part) for part in parts) + end
    for start in range(0, len(sent), size):
        wire.send(sent[start : start + size])
    told = wire.told[1]
    assert told.head == {
        b":method": b"POST",
        b":path": b"/a/B",
        b"content-type": b"application/grpc",
        b"grpc-timeout": b"5S",
    }
    assert (told.data, told.events, told.stream.open) == (b"".join(parts), ["end"], False)


def test_headers_longer_than_a_byte_can_count_are_read() -> None:
    wire = Wire()
    wire.send(request(1, "/" + "a" * 3000, ends=True))
    assert wire.told[1].head[b":path"] == b"/" + b"a" * 3000 and wire.told[1].events == ["end"]


def test_headers_beyond_the_limit_end_their_stream_and_no_other() -> None:
    """Few bytes may stand for many: this header is told once, and referred to as the newest that was told."""
    wire, value = Wire(), b"a" * 3000
    told = request(1, "/a")[9:] + b"\x40\x01x" + b"\x7f\xb9\x16" + value
    assert len(value) == 0x7F + 0x39 + (0x16 << 7)
    wire.send(frame(HEADERS, told + b"\xbe" * 30, flags=END_HEADERS, stream=1), data(1, b"more", ends=True))
    assert [(f.kind, f.stream) for f in wire.pulled()] == [(RST_STREAM, 1)] and not wire.told
    wire.send(request(3, "/b"), data(3, b"word"))
    assert wire.told[3].data == b"word"


def test_streams_are_told_apart() -> None:
    wire = Wire()
    wire.send(request(1, "/a"), request(3, "/b"), data(3, b"three"), data(1, b"one"), reset(3))
    assert {number: told.data for number, told in wire.told.items()} == {1: b"one", 3: b"three"}
    assert (wire.told[1].events, wire.told[3].events) == ([], ["leave"])
    assert repr(wire.session) == "Session(streams=1)" and not wire.session.idle
    wire.send(reset(1))
    assert wire.session.idle


def test_a_client_may_send_on_only_what_is_consumed_of_the_stream_and_of_the_connection() -> None:
    wire, streams = Wire(), range(1, 25, 2)
    for stream in streams:  # 12 MiB
        wire.send(request(stream, "/a"), data(stream, bytes(LIMIT)))
    assert wire.pulled() == []
    for _ in streams:
        wire.session.consume_connection(LIMIT)
    found = wire.pulled()
    assert granted(found, 0) >= CONNECTION_WINDOW // 2 and granted(found, 1) == 0
    wire.session.consume_stream(1, LIMIT)
    assert [(f.stream, f.number) for f in wire.pulled()] == [(1, LIMIT)]
    wire.session.consume_stream(3, 100)  # nor is it told of every byte
    assert wire.pulled() == []


def test_what_nobody_wants_to_hear_does_not_use_up_the_connection() -> None:
    wire, sent = Wire(deaf=True), 0
    free = CONNECTION_WINDOW
    for stream in range(1, 81, 2):  # 40 MiB
        wire.send(request(stream, "/a"))
        wire.session.refuse(wire.streams[stream], RESPONSE)
        sent, free = sent + LIMIT, free - LIMIT
        late = wire.pulled() if stream % 4 == 1 else []  # else the data arrive behind the reset
        wire.send(data(stream, bytes(LIMIT)))
        free += granted([*late, *wire.pulled()], 0)
    assert sent > 2 * CONNECTION_WINDOW and free >= CONNECTION_WINDOW // 2


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", frame(PING, b"short")])
def test_what_is_no_http2_is_an_error(sent: bytes) -> None:
    session = Session(lambda stream, head: None)
    with pytest.raises(ProtocolError):
        session.receive(sent)
    session.close()


def test_frames_against_the_rules_end_the_connection_with_a_word() -> None:
    wire = Wire()
    assert wire.send(data(7, b"of a stream that never began"))
    assert GOAWAY in kinds(wire.pulled()) and wire.session.over


def test_a_fault_of_ours_ends_its_connection_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    faulty, sound = Wire(failing=True), Wire()
    with pytest.raises(ProtocolError):
        faulty.send(request(1, "/a"), data(1, b"x"))
    assert "a fault of ours" in caplog.text
    sound.send(request(1, "/a"), data(1, b"x"))
    assert sound.told[1].data == b"x"


# What goes out


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=3000), max_size=6),
    windows=st.lists(st.integers(1, 4000)),
    most=st.integers(1, 5000),
)
def test_an_answer_arrives_whole_in_order_and_never_beyond_the_clients_window(
    chunks: list[bytes], windows: list[int], most: int
) -> None:
    wire, whole = Wire(window=0), b"".join(chunks)
    wire.send(request(1, "/a", ends=True))
    stream = wire.told[1].stream
    wire.session.respond(stream, RESPONSE)
    for chunk in chunks:
        wire.session.write(stream, chunk)
    allowed, found = 0, wire.pulled()
    assert not body(found)
    wire.session.end(stream, TRAILERS)
    for more in [*windows, len(whole) + 1]:
        allowed += more
        wire.send(window(1, more))
        while new := wire.pulled(most):
            found += new
        assert body(found) == whole[:allowed]
        if found[-1].ends:
            break
    assert kinds(found)[0] == HEADERS and set(kinds(found)[1:-1]) <= {DATA}
    assert found[-1].headers == dict(TRAILERS) and [f.ends for f in found].count(True) == 1
    assert wire.session.idle and wire.told[1].events[-1] == "leave"


def test_an_answer_that_grows_after_it_was_drained_goes_on() -> None:
    wire = Wire()
    wire.send(request(1, "/a"))
    stream = wire.told[1].stream
    wire.session.respond(stream, RESPONSE)
    assert kinds(wire.pulled()) == [HEADERS]
    for word in (b"one", b"two"):
        wire.session.write(stream, word)
        assert body(wire.pulled()) == word
        assert wire.told[1].events[-1] == "drained" and stream.unsent == 0
        assert wire.pulled() == []


def test_a_stream_without_window_does_not_hold_up_others() -> None:
    wire = Wire(window=0)
    wire.send(request(1, "/a"), request(3, "/b"), window(3, 100))
    for number in (1, 3):
        wire.session.respond(wire.told[number].stream, RESPONSE)
        wire.session.write(wire.told[number].stream, b"answer")
    assert [(found.stream, found.payload) for found in wire.pulled() if found.kind == DATA] == [(3, b"answer")]


def test_pull_ends_soon_after_what_it_was_asked_for() -> None:
    wire = Wire(window=1 << 20)
    wire.send(request(1, "/a"), window(0, 1 << 20))
    wire.session.respond(wire.told[1].stream, RESPONSE)
    wire.session.write(wire.told[1].stream, bytes(500_000))
    pulls = []
    while piece := wire.session.pull(50_000):
        pulls.append(len(piece))
    assert sum(pulls) > 500_000 and max(pulls) < 50_000 + 20_000  # a frame more


# The reset behind a whole answer


@pytest.mark.parametrize("complete", [True, False])
def test_an_answer_to_an_incomplete_request_is_followed_by_a_reset(complete: bool) -> None:
    wire = Wire()
    wire.send(request(1, "/a", ends=complete))
    wire.session.refuse(wire.told[1].stream, RESPONSE)
    answer, *rest = wire.pulled()
    assert answer.kind == HEADERS and answer.ends
    assert [(f.kind, f.number) for f in rest] == ([] if complete else [(RST_STREAM, NO_ERROR)])
    assert wire.session.idle


@given(st.binary(min_size=1, max_size=5000), st.lists(st.integers(1, 3000)), st.booleans())
def test_the_reset_comes_behind_the_trailers_however_long_the_answer_waits(
    answer: bytes, windows: list[int], early: bool
) -> None:
    wire = Wire(window=0)
    wire.send(request(1, "/a"))
    stream = wire.told[1].stream
    wire.session.respond(stream, RESPONSE)
    if not early:
        wire.pulled()
    wire.session.write(stream, answer)
    wire.session.end(stream, TRAILERS)
    found = wire.pulled()
    for more in [*windows, len(answer)]:
        wire.send(window(1, more))
        found += wire.pulled()
        if wire.session.idle:
            break
    assert body(found) == answer
    *_, last, reset_ = found
    assert last.ends and last.headers == dict(TRAILERS)
    assert (reset_.kind, reset_.number) == (RST_STREAM, NO_ERROR) and kinds(found).count(RST_STREAM) == 1


def test_a_request_that_ends_before_its_answer_does_is_not_reset() -> None:
    wire = Wire(window=0)
    wire.send(request(1, "/a"))
    stream = wire.told[1].stream
    wire.session.respond(stream, RESPONSE)
    wire.session.write(stream, b"answer")
    wire.session.end(stream, TRAILERS)
    wire.pulled()
    wire.send(data(1, b"", ends=True), window(1, 100))
    found = wire.pulled()
    assert kinds(found) == [DATA, HEADERS] and found[-1].ends and wire.session.idle


def test_what_a_client_sent_before_it_heard_of_the_reset_disturbs_nobody() -> None:
    wire = Wire()
    wire.send(request(1, "/a"))
    wire.session.refuse(wire.told[1].stream, RESPONSE)
    wire.pulled()
    wire.send(data(1, b"late"), data(1, b"last", ends=True), request(3, "/b"), data(3, b"new"))
    assert wire.told[1].data == b"" and wire.told[3].data == b"new"
    assert GOAWAY not in kinds(wire.pulled())


# Signs of life, and the end


def test_a_ping_is_answered_and_asked() -> None:
    wire = Wire()
    assert wire.send(frame(PING, b"12345678"))
    assert [(f.flags, f.payload) for f in wire.pulled() if f.kind == PING] == [(ACK, b"12345678")]
    wire.session.ping()
    (asked,) = wire.pulled()
    assert asked.kind == PING and not asked.flags & ACK
    assert not wire.send(frame(PING, asked.payload, flags=ACK))


def test_the_end_is_announced_before_it_comes() -> None:
    wire = Wire()
    wire.send(request(1, "/a"))
    wire.session.announce_end()
    (notice,) = wire.pulled()
    assert notice.kind == GOAWAY and notice.payload[:8] == b"\x7f\xff\xff\xff" + bytes(4)
    wire.send(request(3, "/b"), data(1, b"more"))
    assert wire.told[1].data == b"more" and 3 in wire.told  # what was on its way is still taken
    assert not wire.session.over
    wire.session.terminate()
    (end,) = wire.pulled()
    assert end.kind == GOAWAY and end.payload[:8] == (3).to_bytes(4, "big") + bytes(4)


def test_closing_tells_everybody_and_keeps_nothing() -> None:
    wire = Wire()
    wire.send(request(1, "/a"), request(3, "/b"))
    session = wire.session
    alive = weakref.ref(session)
    session.close()
    assert [told.events for told in wire.told.values()] == [["leave"], ["leave"]]
    del session, wire.session
    assert alive() is None
