"""However a caller reads, it gets each text whole, in order, and in messages of a bounded size."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ModelFailed, Overloaded
from headrace.protos import sequences_pb2 as pb
from headrace.server.rpc.drafts import REPLY, UNREAD, Drafts, Places
from headrace.server.steps import Ending, Wrote

from .texts import cells, wrote

ALL = Places.of([0, 1, 2], 2)
ADDED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, REPLY // 4)), min_size=1, max_size=3)


def added(number: int, grown: list[tuple[int, int]]) -> Wrote:
    """So many tokens for each of these texts, and a word that none has had before."""
    lengths = np.array([tokens for _, tokens in grown])
    texts, nothing = tuple(f"{number} " for _ in grown), tuple(None for _ in grown)
    return Wrote(
        np.array([key for key, _ in grown], np.uint32), lengths, np.full(lengths.sum(), number), texts, nothing
    )


@given(st.lists(ADDED | st.none(), max_size=12))
def test_texts_are_whole_however_they_are_taken(told: list[list[tuple[int, int]] | None]) -> None:
    """None: the caller reads."""
    drafts, whole, read = Drafts(), dict[tuple[int, int], str](), dict[tuple[int, int], str]()
    for number, grown in enumerate([*told, None]):
        if grown is None:
            replies = drafts.take()
            assert not drafts and not drafts.take() and all(reply.texts for reply in replies)
            assert all(len(reply.tokens) < 8 * 2 * REPLY for reply in replies)
            for cell in cells(*replies):
                assert set(cell.tokens) <= {int(cell.text)}
                read[cell.prompt, cell.copy] = read.get((cell.prompt, cell.copy), "") + cell.text
        else:
            answer = added(number, grown)
            drafts.add(ALL.take(answer.keys), answer)
            for key, _ in grown:
                whole[key // 2, key % 2] = whole.get((key // 2, key % 2), "") + f"{number} "
    assert read == whole


def test_endings_and_errors_come_with_their_texts() -> None:
    drafts, places = Drafts(), Places.of([7, 3], 2)
    drafts.add(places.take(np.array([2])), wrote((2, "b", None)))
    drafts.fail(places.take(np.array([1])), ModelFailed("not finite"))
    drafts.add(places.take(np.array([0, 2])), wrote((0, "a", None), (2, "ca", Ending.LATE)))
    (reply,) = drafts.take()
    heard = [(cell.prompt, cell.copy, cell.text, cell.tokens, cell.ending) for cell in cells(reply)]
    assert heard == [(3, 0, "b", [1], 0), (7, 1, "", [], 0), (7, 0, "a", [0], 0), (3, 0, "ca", [2, 0], pb.LATE)]
    (failed, _) = reply.ends
    assert (failed.cell, failed.error.code, failed.error.message) == (1, pb.MODEL_FAILED, "not finite")
    assert not failed.error.HasField("key") and not failed.error.HasField("position")


def test_texts_are_found_by_their_keys_also_the_only_one() -> None:
    assert taken(Places.of([4], 1), 0) == [(4, 0)]
    assert taken(Places.of([4], 1), 0, 0) == [(4, 0)] * 2
    assert taken(Places.of([7, 3], 3), 5, 0, 3) == [(3, 2), (7, 0), (3, 0)]


def taken(places: Places, *keys: int) -> list[tuple[int, int]]:
    found = places.take(np.array(keys, np.uint32))
    return list(zip(found.prompts.tolist(), found.copies.tolist(), strict=True))


def test_what_nobody_reads_is_not_kept_without_end() -> None:
    drafts, one = Drafts(), Places.of([0], 1)
    with pytest.raises(Overloaded, match="read faster"):
        for number in range(UNREAD):
            drafts.add(one, added(number, [(0, 1000)]))
    assert UNREAD - 2000 < sum(len(cell.tokens) for cell in cells(*drafts.take())) <= UNREAD
    drafts.add(one, added(0, [(0, 1)]))  # there is room again
    with pytest.raises(Overloaded, match="read faster"):
        drafts.fail(Places.of([0], UNREAD), ModelFailed("so many"))


def test_a_text_that_nobody_reads_takes_the_memory_of_its_tokens_and_no_more() -> None:
    drafts, one, answer, before = Drafts(), Places.of([0], 1), added(1, [(0, 1)]), resident()
    for _ in range(UNREAD // 2):
        drafts.add(one, answer)
    grown = resident() - before
    assert merged_length(drafts.take()) == UNREAD // 2 * len("1 ")
    assert grown < 50 << 20  # 32 bytes a token; an object for each of its columns would take 200


def merged_length(replies: list[pb.GenerateReply]) -> int:
    return sum(len(text) for reply in replies for text in reply.texts)


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
