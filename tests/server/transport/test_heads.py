from __future__ import annotations

from urllib.parse import unquote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.server.transport.heads import DETAILS, Head, not_grpc, read_head, trailers
from headrace.server.transport.messages import Refused

REQUEST = {b":method": b"POST", b":path": b"/a.B/C", b"content-type": b"application/grpc"}


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (b"2H", 7200.0),
        (b"3M", 180.0),
        (b"5S", 5.0),
        (b"7m", 0.007),
        (b"11u", 11e-6),
        (b"13n", 13e-9),
        (b"0S", 0.0),
        (b"99999999S", 99_999_999.0),
    ],
)
def test_timeouts_are_read_in_every_unit(told: bytes, seconds: float) -> None:
    assert read_head(REQUEST | {b"grpc-timeout": told}).timeout == pytest.approx(seconds)


@pytest.mark.parametrize("told", [b"", b"5", b"S", b"5s", b"-5S", b"5.0S", b"5 S", b"5SS", b"100000000S", b"5S\n"])
def test_a_timeout_that_is_none_is_refused(told: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_head(REQUEST | {b"grpc-timeout": told})
    assert caught.value.status is grpc.StatusCode.INTERNAL and "timeout" in caught.value.details


@pytest.mark.parametrize("encoding", [None, b"identity", b"gzip", b"deflate"])
def test_a_head_is_read(encoding: bytes | None) -> None:
    head = REQUEST if encoding is None else REQUEST | {b"grpc-encoding": encoding}
    assert read_head(head) == Head("/a.B/C", None, encoding)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(Refused, match="zstd") as caught:
        read_head(REQUEST | {b"grpc-encoding": b"zstd"})
    assert caught.value.status is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"application/grpc;charset=utf-8"])
def test_what_grpc_sends_is_taken(kind: bytes) -> None:
    assert not_grpc(REQUEST | {b"content-type": kind}) is None


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ({b"content-type": b"application/json"}, b"415"),
        ({b"content-type": b"application/grpc-web"}, b"415"),
        ({b"content-type": b""}, b"415"),
        ({b":method": b"GET"}, b"405"),
    ],
)
def test_what_it_does_not_send_is_answered_as_http_does(head: dict[bytes, bytes], code: bytes) -> None:
    answer = not_grpc(REQUEST | head)
    assert answer is not None and dict(answer)[b":status"] == code


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=DETAILS))
def test_any_sentence_arrives_as_it_was_and_travels_as_ascii(details: str) -> None:
    told = dict(trailers(grpc.StatusCode.ABORTED, details)).get(b"grpc-message", b"")
    assert all(0x20 <= byte < 0x7F for byte in told)
    assert unquote(told.decode()) == details


def test_a_sentence_that_is_long_is_cut() -> None:
    told = dict(trailers(grpc.StatusCode.ABORTED, "ab" * DETAILS))[b"grpc-message"]
    assert told == b"ab" * (DETAILS // 2)


def test_a_plain_sentence_travels_as_it_is() -> None:
    told = dict(trailers(grpc.StatusCode.OK, "100 % of what's ~ <plain>, \u00fcber"))
    assert told[b"grpc-message"] == b"100 %25 of what's ~ <plain>, %C3%BCber"


@pytest.mark.parametrize("status", grpc.StatusCode)
def test_trailers_have_the_number_and_what_else_is_told(status: grpc.StatusCode) -> None:
    number, _ = status.value
    assert trailers(status, "", (("a", "1"), ("b", "2"))) == [
        (b"grpc-status", str(number).encode()),
        (b"a", b"1"),
        (b"b", b"2"),
    ]
