from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.server.transport.stream import Stream


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(1, 30), min_size=1))
def test_what_is_taken_is_what_was_added(chunks: list[bytes], sizes: list[int]) -> None:
    stream, found, turn = Stream(1), b"", 0
    for chunk in chunks:
        stream.add(chunk)
    while stream.unsent:
        most = sizes[turn % len(sizes)]
        piece = stream.take(most)
        assert type(piece) is bytes and 1 <= len(piece) <= most
        found, turn = found + piece, turn + 1
        assert len(found) + stream.unsent == sum(map(len, chunks))
    assert found == b"".join(chunks)
