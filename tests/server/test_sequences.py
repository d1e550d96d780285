from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import Overloaded
from headrace.server.sequences import FRESH, FreeList, Sequences


def test_the_free_list_gives_each_number_once_and_the_last_returned_first() -> None:
    free = FreeList(5)
    taken = free.take(5)
    assert sorted(taken.tolist()) == [0, 1, 2, 3, 4] and len(free) == 0
    with pytest.raises(IndexError, match="1 numbers wanted, 0 free"):
        free.take(1)
    free.give(taken[1:3])
    assert free.take(2).tolist() == taken[1:3].tolist()
    assert sorted(taken.tolist()) == [0, 1, 2, 3, 4]  # what was handed out is no view of the stack


def test_a_full_table_says_so_and_has_room_again_when_one_leaves() -> None:
    sequences = Sequences(2)
    numbers = [sequences.create(("", name), 1, now=0.0) for name in "ab"]
    with pytest.raises(Overloaded, match="all 2 sequences") as caught:
        sequences.create(("", "c"), 1, now=0.0)
    assert caught.value.retry_after == 1.0
    sequences.remove(numbers[0])
    assert sequences.create(("", "c"), 1, now=0.0) == numbers[0]
    assert set(sequences.names) == {("", "b"), ("", "c")} and len(sequences) == 2


def test_a_number_that_is_used_again_starts_afresh() -> None:
    sequences = Sequences(1)
    number = sequences.create(("", "a"), 1, now=0.0)
    sequences.position[number] = sequences.expected[number] = 9
    sequences.slot[number], sequences.closing[number] = 3, True
    assert sequences.remove(number) == 3
    assert sequences.create(("", "b"), 2, now=5.0) == number
    assert sequences.position[number] == sequences.expected[number] == sequences.pending[number] == 0
    assert sequences.slot[number] == FRESH and not sequences.closing[number]
    assert sequences.incarnation[number] == 2 and sequences.used[number] == 5.0


def test_a_detached_sequence_frees_its_name_at_once_and_its_number_later() -> None:
    sequences = Sequences(2)
    old = sequences.create(("", "a"), 1, now=0.0)
    sequences.detach(old)
    new = sequences.create(("", "a"), 2, now=0.0)
    assert new != old and len(sequences) == 2
    sequences.remove(old)
    assert sequences.names == {("", "a"): new}  # the name stays with the newer one


def test_the_same_id_of_two_tenants_is_two_sequences() -> None:
    sequences = Sequences(2)
    assert sequences.create(("x", "a"), 1, now=0.0) != sequences.create(("y", "a"), 1, now=0.0)


def test_only_the_unused_without_pending_steps_are_idle() -> None:
    sequences = Sequences(4)
    old, busy, new = (sequences.create(("", name), 1, now) for name, now in (("a", 1.0), ("b", 1.0), ("c", 3.0)))
    sequences.pending[busy] = 1
    assert sequences.idle_since(2.0, most=9) == [old]
    assert sequences.idle_since(3.0, most=9) == sorted([old, new])
    assert len(sequences.idle_since(3.0, most=1)) == 1


def test_the_first_row_of_each_sequence_is_marked() -> None:
    sequences = Sequences(4)
    numbers = np.array([2, 0, 2, 1, 0, 2], np.int32)
    for _ in range(2):  # what an earlier call left behind does not matter
        assert sequences.first_of_each(numbers).tolist() == [True, True, False, True, False, False]
