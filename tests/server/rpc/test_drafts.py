"""However a caller reads, it gets each text whole, in order, and in messages of a bounded size."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ModelFailed, Overloaded
from headrace.protos import sequences_pb2 as pb
from headrace.server.rpc.drafts import REPLY, UNREAD, Drafts
from headrace.server.steps import Ending

PLACES = st.tuples(st.integers(0, 2), st.integers(0, 1))
ADDED = st.tuples(PLACES, st.integers(0, 2 * REPLY // 3))


@given(st.lists(ADDED | st.none(), max_size=20))
def test_texts_are_whole_however_they_are_taken(told: list[tuple[tuple[int, int], int] | None]) -> None:
    """None: the caller reads."""
    drafts, wrote, read = Drafts(), dict[tuple[int, int], str](), dict[tuple[int, int], str]()
    for number, added in enumerate([*told, None]):
        if added is None:
            replies = drafts.take()
            assert not drafts and not drafts.take()
            for part in (part for reply in replies for part in reply.parts):
                read[part.prompt, part.copy] = read.get((part.prompt, part.copy), "") + part.text
            assert all(sum(len(part.tokens) for part in reply.parts) < 2 * REPLY for reply in replies)
            assert all(reply.parts for reply in replies)
        else:
            (place, tokens), word = added, f"{number} "
            drafts.add(place, [number] * tokens, word, None)
            wrote[place] = wrote.get(place, "") + word
    assert read == wrote


def test_endings_and_errors_come_with_their_texts() -> None:
    drafts = Drafts()
    drafts.add((1, 0), [3], "d", None)
    drafts.fail((0, 1), ModelFailed("not finite"))
    drafts.add((1, 0), [4, 5], "ef", Ending.LATE)
    (reply,) = drafts.take()
    first, second = reply.parts
    assert first == pb.GenerateReply.Part(prompt=1, tokens=[3, 4, 5], text="def", ending=pb.LATE)
    assert (second.prompt, second.copy, second.error.code) == (0, 1, pb.MODEL_FAILED)
    assert not second.error.HasField("key") and not second.error.HasField("position")


def test_what_nobody_reads_is_not_kept_without_end() -> None:
    drafts = Drafts()
    with pytest.raises(Overloaded, match="read faster"):
        for _ in range(UNREAD):
            drafts.add((0, 0), [1] * 1000, "x", None)
    assert sum(len(part.tokens) for reply in drafts.take() for part in reply.parts) <= UNREAD
    drafts.add((0, 0), [1], "x", None)  # there is room again


def test_a_text_that_nobody_reads_takes_the_memory_of_its_tokens_and_no_more() -> None:
    drafts, before, count = Drafts(), resident(), REPLY // 2
    for _ in range(count):
        drafts.add((0, 0), [1], "x", None)
    (reply,) = drafts.take()
    grown = resident() - before
    assert reply.parts[0].text == "x" * count
    assert grown < 100 << 20  # a message that keeps what its text was before each token would have 537 MB


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
