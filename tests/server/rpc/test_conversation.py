"""Both directions of a call: what is written when, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headrace.server.rpc.conversation import Conversation

from .context import Told


class Asked:
    """What a client streams, by hand. Mutable: `take`, while somebody wants to hear; `more`, what `each` says then."""

    def __init__(self) -> None:
        self.take: Callable[[str], bool] | None = None
        self._done: asyncio.Future[bool] | None = None

    async def each(self, take: Callable[[str], bool]) -> bool:
        self.take, self._done = take, asyncio.get_running_loop().create_future()
        return await self._done

    def ask(self, request: str) -> None:
        assert self.take is not None and self._done is not None
        if not self.take(request):
            self.take = None
            self._done.set_result(True)

    def end(self, error: Exception | None = None) -> None:
        assert self._done is not None
        self.take = None
        if error is None:
            self._done.set_result(False)
        else:
            self._done.set_exception(error)


class Scripted(Conversation[str]):
    """Repeats what it is asked, unless it is to be quiet. Mutable: `words`, that are to be said; `owed`, how many more
    will be; `left`."""

    def __init__(self, told: Told, most: int = 100) -> None:
        super().__init__(told)
        self._most, self._less = most, asyncio.Event()
        self.words: list[str] = []
        self.owed = self.left = 0

    def say(self, word: str) -> None:
        self.words.append(word)
        self._answered()

    def less(self) -> None:
        self._most = 100
        self._less.set()

    def _handle(self, request: str) -> None:
        if request == "fault":
            raise ZeroDivisionError("scripted")
        if request != "quiet":
            self.say(request)

    @property
    def _enough(self) -> bool:
        return self._most <= 1

    async def _room(self) -> None:
        await self._less.wait()

    def _write(self) -> None:
        words, self.words = self.words, []
        if "unwritable" in words:
            raise ZeroDivisionError("scripted")
        if words:
            self._say(" ".join(words))

    @property
    def _unsaid(self) -> bool:
        return bool(self.words) or self.owed > 0

    def _leave(self) -> None:
        self.left += 1


async def rest() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def with_one(
    work: Callable[[Scripted, Asked, Told], Coroutine[Any, Any, None]], told: Callable[[], Told] = Told, most: int = 100
) -> None:
    """It must have ended when `work` has."""

    async def test() -> None:
        heard, asked = told(), Asked()
        one = Scripted(heard, most)
        running = asyncio.create_task(one.run(asked))
        await rest()
        await work(one, asked, heard)
        await rest()
        assert running.done() and one.left == 1
        await running

    asyncio.run(asyncio.wait_for(test(), 10))


def test_what_is_answered_at_once_is_written_before_anything_else_happens() -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        asked.ask("one")
        assert told.messages == ["one"]
        asked.end()

    with_one(work)


def test_later_answers_are_gathered_for_one_turn_of_the_loop() -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        asked.ask("quiet")
        one.say("one")
        one.say("two")
        assert told.messages == []
        await rest()
        assert told.messages == ["one two"]
        asked.end()

    with_one(work)


def test_while_the_network_is_full_answers_wait_and_the_end_waits_for_them() -> None:
    room = asyncio.Event()

    class Full(Told):
        async def room(self) -> None:
            await room.wait()
            self._room = True

    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        asked.ask("one")
        asked.ask("two")
        one.say("three")
        asked.end()
        await rest()
        assert told.messages == ["one"] and one.left == 0
        room.set()
        await rest()
        assert told.messages == ["one", "two three"]

    with_one(work, lambda: Full(room=False))


def test_the_end_waits_until_the_network_has_taken_the_last_answer() -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        one.words.append("last")
        one.finish()
        await told.asked.wait()
        assert one.left == 0
        room.set()

    class Full(Told):
        async def room(self) -> None:
            self.asked.set()
            await room.wait()

    room = asyncio.Event()
    with_one(work, lambda: Full(room=False))


def test_nothing_more_is_taken_while_there_is_enough() -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        asked.ask("one")
        await rest()
        assert asked.take is None
        one.less()
        await rest()
        asked.ask("two")
        assert told.messages == ["one", "two"]
        asked.end()

    with_one(work, most=1)


def test_once_finished_it_says_what_is_answered_and_takes_nothing() -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        one.say("answered")
        one.finish()
        asked.ask("too late")
        await rest()
        assert told.messages == ["answered"]

    with_one(work)


def test_once_finished_it_ends_with_the_last_answer_that_is_owed() -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        one.owed = 1
        one.finish()
        await rest()
        assert one.left == 0
        one.owed = 0
        one.say("owed")
        await rest()
        assert told.messages == ["owed"]

    with_one(work)


@pytest.mark.parametrize("request_", ["fault", "unwritable"])
def test_a_fault_of_ours_ends_it_and_is_kept_and_logged(request_: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        asked.ask("one")
        asked.ask(request_)
        await rest()
        assert isinstance(one.fault, ZeroDivisionError) and told.messages == ["one"]

    with_one(work)
    assert "ZeroDivisionError" in caplog.text


def test_a_fault_of_ours_in_a_later_turn_ends_it_too(caplog: pytest.LogCaptureFixture) -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        one.say("unwritable")
        await rest()
        assert isinstance(one.fault, ZeroDivisionError)

    with_one(work)
    assert "ZeroDivisionError" in caplog.text


def test_a_fault_of_what_carries_it_ends_it_too(caplog: pytest.LogCaptureFixture) -> None:
    async def work(one: Scripted, asked: Asked, told: Told) -> None:
        asked.end(OSError("scripted"))
        await rest()
        assert isinstance(one.fault, OSError)

    with_one(work)
    assert "scripted" in caplog.text


def test_one_that_is_cancelled_leaves() -> None:
    async def test() -> None:
        one = Scripted(Told())
        running = asyncio.create_task(one.run(Asked()))
        await rest()
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled() and one.left == 1

    asyncio.run(asyncio.wait_for(test(), 10))
