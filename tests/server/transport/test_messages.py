from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from itertools import pairwise
from random import Random

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.server.transport.messages import AT_ONCE, Assembler, Packed, Refused, framed

MOST = 100
PACK = {b"gzip": gzip.compress, b"deflate": zlib.compress}


def marked(message: bytes) -> bytes:
    """As one that is compressed goes over the wire."""
    return b"\1" + framed(message)[1:]


def packed(message: bytes, most: int, encoding: bytes | None) -> bytes:
    (found,) = Assembler(most, encoding).feed(marked(message))
    assert isinstance(found, Packed)
    return asyncio.run(found.unpacked(most))


def refused(message: bytes, encoding: bytes | None = b"gzip", most: int = MOST) -> Refused:
    with pytest.raises(Refused) as caught:
        packed(message, most, encoding)
    return caught.value


@given(st.lists(st.tuples(st.binary(max_size=MOST), st.booleans())), st.data())
def test_messages_come_out_the_same_however_their_bytes_are_cut(
    messages: list[tuple[bytes, bool]], draw: st.DataObject
) -> None:
    wire = b"".join(marked(message) if flag else framed(message) for message, flag in messages)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(wire)))))
    assembler, found = Assembler(MOST, b"gzip"), []
    for start, end in pairwise([0, *cuts, len(wire)]):
        found += assembler.feed(wire[start:end])
    assert found == [Packed(message, b"gzip") if flag else message for message, flag in messages]
    assert not assembler.halfway


@given(st.binary(min_size=1, max_size=MOST), st.data())
def test_the_beginning_of_a_message_is_none(message: bytes, draw: st.DataObject) -> None:
    assembler, wire = Assembler(MOST, None), framed(message)
    cut = draw.draw(st.integers(1, len(wire) - 1))
    assert [*assembler.feed(wire[:cut])] == [] and assembler.halfway
    assert [*assembler.feed(wire[cut:])] == [message]


@pytest.mark.parametrize("cut", [5, 50])
def test_a_message_of_the_most_bytes_passes_and_of_one_more_is_refused_at_its_prefix(cut: int) -> None:
    assert [*Assembler(MOST, None).feed(framed(bytes(MOST)))] == [bytes(MOST)]
    with pytest.raises(Refused, match="message of 101 bytes is over the limit of 100") as caught:
        Assembler(MOST, None).feed(framed(bytes(MOST + 1))[:cut])
    assert caught.value.status is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_whole_message_that_is_too_large_is_refused() -> None:
    with pytest.raises(Refused):
        Assembler(MOST, None).feed(framed(bytes(MOST + 1)))


@pytest.mark.parametrize("encoding", PACK)
@given(message=st.binary(max_size=MOST))
def test_a_compressed_message_is_unpacked(encoding: bytes, message: bytes) -> None:
    assert packed(PACK[encoding](message), 2 * MOST, encoding) == message


@pytest.mark.parametrize("most", [MOST, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
@pytest.mark.parametrize("encoding", PACK)
def test_the_limit_is_exact_for_what_is_unpacked(encoding: bytes, most: int) -> None:
    for whole in (bytes(most + 1), Random(0).randbytes(most).hex()[: most + 1].encode()):
        assert packed(PACK[encoding](whole[:-1]), most, encoding) == whole[:-1]
        error = refused(PACK[encoding](whole), encoding, most)
        assert error.status is grpc.StatusCode.RESOURCE_EXHAUSTED and f"more than {most} bytes" in error.details


@pytest.mark.parametrize("most", [MOST, 2 * AT_ONCE])
def test_a_bomb_is_not_unpacked_to_its_end(most: int) -> None:
    bomb = zlib.compress(bytes(32 << 20), 1)
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="over the limit"):
            asyncio.run(Packed(bomb, b"deflate").unpacked(most))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_what_cannot_be_unpacked_says_why() -> None:
    whole = gzip.compress(b"a message")
    large = gzip.compress(Random(0).randbytes(2 * AT_ONCE))
    for message, encoding, why in (
        (whole[:-1], b"gzip", "cut short"),
        (large[:-1], b"gzip", "cut short"),
        (large[: 3 * AT_ONCE // 2] + bytes(1000), b"gzip", "cannot be read"),
        (b"", b"gzip", "cut short"),
        (b"no gzip at all", b"gzip", "cannot be read"),
        (whole, b"deflate", "cannot be read"),
        (whole, None, "does not say how"),
        (whole, b"identity", "does not say how"),
    ):
        error = refused(message, encoding, 4 * AT_ONCE)
        assert error.status is grpc.StatusCode.INTERNAL and why in error.details
