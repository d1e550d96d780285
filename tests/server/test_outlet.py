"""Answers reach the event loop in their order, whoever had the lane."""

from __future__ import annotations

import asyncio
from threading import Thread, get_ident

from headrace.server.outlet import Outlet
from headrace.server.steps import Answers, Closed

from .fakes import Heard


def said(*keys: int) -> Answers:
    return [(Heard(), Closed(keys))]


def test_from_another_thread_they_come_by_the_loop_and_from_its_own_at_once() -> None:
    async def run() -> None:
        heard: list[Answers] = []
        outlet = Outlet(heard.append, asyncio.get_running_loop(), get_ident())
        one, other = said(1), said(2)
        outlet(one)
        assert heard == [one]
        thread = Thread(target=outlet, args=(other,))
        thread.start()
        thread.join()
        await asyncio.sleep(0)
        assert heard == [one, other]

    asyncio.run(run())


def test_none_overtakes_those_that_are_on_their_way() -> None:
    async def run() -> None:
        heard: list[Answers] = []
        outlet = Outlet(heard.append, asyncio.get_running_loop(), get_ident())
        sent = [said(key) for key in range(4)]
        thread = Thread(target=lambda: [outlet(each) for each in sent[:2]])
        thread.start()
        thread.join()  # and the loop has not turned since
        outlet(sent[2])
        assert heard == []
        await asyncio.sleep(0)
        outlet(sent[3])
        assert heard == sent

    asyncio.run(run())


def test_a_fault_of_who_hears_them_is_told_to_the_loop_and_not_to_the_lane() -> None:
    def deaf(answers: Answers) -> None:
        raise RuntimeError("cannot hear (scripted)")

    async def run() -> None:
        told: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
        Outlet(deaf, loop, get_ident())(said(1))
        assert told == ["cannot hear (scripted)"]

    asyncio.run(run())


def test_answers_that_could_not_be_delivered_on_their_way_hold_up_none_behind_them() -> None:
    def deaf(answers: Answers) -> None:
        raise RuntimeError("cannot hear (scripted)")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: None)
        outlet = Outlet(deaf, loop, get_ident())
        thread = Thread(target=outlet, args=(said(1),))
        thread.start()
        thread.join()
        await asyncio.sleep(0)
        assert repr(outlet) == "Outlet(sent=1, heard=1)"

    asyncio.run(run())


def test_what_comes_of_delivering_them_does_not_overtake_the_rest() -> None:
    async def run() -> None:
        heard: list[Answers] = []
        new, old = said(3), [*said(1), *said(2)]

        def deliver(answers: Answers) -> None:
            for answer in answers:
                heard.append([answer])
                if answer is old[0]:
                    outlet(new)

        outlet = Outlet(deliver, asyncio.get_running_loop(), get_ident())
        thread = Thread(target=outlet, args=(old,))
        thread.start()
        thread.join()
        for _ in range(2):
            await asyncio.sleep(0)
        assert heard == [old[:1], old[1:], new]

    asyncio.run(run())
