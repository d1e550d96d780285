from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import HeadraceError, InvalidInput, TakenOver, UnknownSequence
from headrace.server.handles import CLOSED, EXPIRED, MOST_KEYS, TAKEN, UNKNOWN, Handles, why


def test_keys_are_looked_up_by_columns_also_those_beyond_the_table() -> None:
    handles = Handles()
    handles[3], handles[40], handles[5] = 7, 8, CLOSED
    keys = np.array([3, 4, 40, 5, MOST_KEYS, 2**32 - 1], np.uint32)
    assert handles.lookup(keys).tolist() == [7, UNKNOWN, 8, CLOSED, UNKNOWN, UNKNOWN]
    assert handles.lookup(keys[:0]).tolist() == []
    assert handles[2**32 - 1] == UNKNOWN
    assert sorted(handles) == [7, 8]


def test_a_key_that_would_make_the_table_too_large_is_refused() -> None:
    handles = Handles()
    handles[MOST_KEYS - 1] = 1
    with pytest.raises(InvalidInput, match="too large"):
        handles[MOST_KEYS] = 1


@pytest.mark.parametrize(
    ("word", "kind", "text"),
    [
        (UNKNOWN, UnknownSequence, "key 6 was not opened"),
        (CLOSED, UnknownSequence, "key 6 was closed"),
        (EXPIRED, UnknownSequence, "key 6 expired"),
        (TAKEN, TakenOver, "the sequence of key 6"),
    ],
)
def test_each_word_says_why_there_is_no_sequence(word: int, kind: type[HeadraceError], text: str) -> None:
    error = why(word, 6)
    assert type(error) is kind and text in str(error)
