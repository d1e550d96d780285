"""Who has a lane: one at a time, and commands in the order in which they were posted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock, Thread

from headrace.server.commands import Barrier, Command
from headrace.server.turns import Turns

CALLERS, EACH = 4, 2000


def command() -> Barrier:
    return Barrier(lambda: None)


@contextmanager
def joined(*threads: Thread) -> Iterator[None]:
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_lane_at_rest_is_borrowed_and_given_back() -> None:
    turns, first, second = Turns(), command(), command()
    assert turns.borrow(first)
    assert list(turns.take()) == [first]
    turns.give_back(more=False)
    assert turns.borrow(second)
    assert list(turns.take()) == [second]


def test_nobody_borrows_what_somebody_has() -> None:
    turns, commands = Turns(), [command() for _ in range(3)]
    turns.own()
    turns.post(commands[0])
    assert not turns.borrow(commands[1])
    turns.post(commands[2])
    assert not turns.quiet
    assert list(turns.take()) == commands and turns.quiet


def test_what_was_posted_before_is_not_overtaken() -> None:
    turns, first, second = Turns(), command(), command()
    turns.post(first)
    assert not turns.borrow(second)
    assert list(turns.take()) == [first, second]


def test_what_a_borrower_leaves_is_the_threads() -> None:
    turns, first, second = Turns(), command(), command()
    assert turns.borrow(first)
    list(turns.take())
    turns.give_back(more=True)
    assert not turns.borrow(second)
    assert list(turns.take()) == [second]
    assert not turns.borrow(first)  # still


def test_a_thread_at_rest_goes_on_for_what_is_posted_for_what_is_left_and_in_the_end_by_itself() -> None:
    turns, taken = Turns(), SimpleQueue[list[Command | None]]()

    def thread() -> None:
        turns.own()
        turns.rest(0.0)
        taken.put(list(turns.take()))
        for _ in range(2):
            while turns.quiet:  # a ring may come late, when what it tells of is taken
                turns.rest(None)
            taken.put(list(turns.take()))

    one, other = command(), command()
    with joined(Thread(target=thread)):
        assert taken.get(timeout=30) == []
        turns.post(one)
        assert taken.get(timeout=30) == [one]
        left = turns.borrow(other)  # unless the thread is not at rest again: then it is posted
        if left:
            turns.give_back(more=True)
        assert taken.get(timeout=30) == [other]


def test_many_who_post_and_borrow_never_meet_and_lose_nothing() -> None:
    """Each command says whose it is and which; whoever takes them is alone, and meets each caller's in order."""
    turns, inside, borrowed = Turns(), Lock(), []
    asked = [[command() for _ in range(EACH)] for _ in range(CALLERS)]
    whose = {id(one): (caller, number) for caller, own in enumerate(asked) for number, one in enumerate(own)}
    seen: list[list[int]] = [[] for _ in range(CALLERS)]

    def handle() -> bool:
        assert inside.acquire(blocking=False), "two have the lane"
        taken = list(turns.take())
        for one in filter(None, taken):
            caller, number = whose[id(one)]
            seen[caller].append(number)
        inside.release()
        return None not in taken

    def lane() -> None:
        turns.own()
        while handle():
            turns.rest(None)

    def ask(caller: int) -> None:
        for number, one in enumerate(asked[caller]):
            if number % 2:
                turns.post(one)
            elif turns.borrow(one):
                handle()
                borrowed.append(one)
                turns.give_back(more=number % 3 == 0)

    with joined(owner := Thread(target=lane)):
        with joined(*(Thread(target=ask, args=(caller,)) for caller in range(CALLERS))):
            pass
        turns.post(None)
        owner.join(30)
    assert seen == [list(range(EACH))] * CALLERS
    assert borrowed
