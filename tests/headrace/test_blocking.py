"""The facade over the same client: a scripted server in a thread of its own."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread

import numpy as np
import pytest

import headrace
from headrace.blocking import Client, Loop, Sequence, connect
from headrace.client import Ending, Settings
from headrace.errors import InvalidInput, Unavailable, UnknownSequence
from headrace.protos import sequences_pb2 as pb

from .client.fake import Cut, FakeServer
from .client.told import Cell, reply


@contextmanager
def running() -> Iterator[FakeServer]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    server = FakeServer()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    yield server
    asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def total(sequence: Sequence, number: float) -> float:
    return float(np.asarray(sequence.step([[number, 0]]))[-1, 0])


def test_a_sequence_step_by_step() -> None:
    with running() as server, headrace.connect_blocking(server.address) as client:
        with client.open("sum", "a") as s:
            assert [total(s, n) for n in (1, 2, 3)] == [1, 3, 6]
            assert (s.position, s.id, s.version, s.spec.name) == (3, "a", "1", "sum")
            s.reset()
            assert (s.position, total(s, 5)) == (0, 5)
        assert not server.live
        with pytest.raises(UnknownSequence):
            s.step([[1, 0]])
        assert np.asarray(client.infer("mean", [[1, 2], [3, 4]])).tolist() == [2, 3]
        assert client.models()[0].name == "sum"


def test_errors_arrive_as_they_are() -> None:
    with running() as server, connect(server.address) as client, pytest.raises(InvalidInput, match="time, 2"):
        client.open("sum").step([1.0])


def test_lost_connections_are_resumed() -> None:
    with running() as server, connect(server.address, Settings(backoff_first=0.001)) as client:
        s = client.open("sum", "a")
        server.cuts = deque([None, Cut.UNANSWERED, Cut.BEFORE])
        assert [total(s, 1) for _ in range(4)] == [1, 2, 3, 4]
        assert (server.live["a"].applied, server.connections) == (4, 3)


def test_threads_share_one_client() -> None:
    with running() as server, connect(server.address) as client, ThreadPoolExecutor(8) as pool:
        sequences = [client.open("sum") for _ in range(8)]
        sums = list(pool.map(lambda s: [total(s, n) for n in range(20)], sequences))
        assert sums == [list(np.cumsum(range(20)))] * 8
        assert server.connections == 1


def test_a_closed_client_says_so_to_all_who_wait() -> None:
    with running() as server, ThreadPoolExecutor(1) as pool:
        client = connect(server.address)
        with pytest.raises(Unavailable, match="inside `with`"):
            client.models()
        with client:
            s = client.open("sum", "a")
            server.paused = True
            waits = pool.submit(total, s, 1)
            asyncio.run_coroutine_threadsafe(server.until(lambda: len(server.queue) == 1), server.loop).result(20)
        assert isinstance(waits.exception(10), Unavailable)


def test_an_interrupted_wait_gives_the_step_up() -> None:
    with running() as server, connect(server.address) as client, ThreadPoolExecutor(1) as pool:
        s = client.open("sum", "a")
        server.paused = True
        main = threading.get_ident()

        async def interrupt() -> None:
            await server.until(lambda: len(server.queue) == 1)
            signal.pthread_kill(main, signal.SIGINT)
            await server.until(lambda: bool(server.frames[-1].cancels.keys))

        heard = pool.submit(lambda: asyncio.run_coroutine_threadsafe(interrupt(), server.loop).result(20))
        with pytest.raises(KeyboardInterrupt):
            total(s, 1)
        heard.result()
        server.paused = False
        assert total(s, 2) == 2


def test_what_comes_after_the_end_is_refused() -> None:
    with running() as server:
        with connect(server.address) as client:
            s = client.open("sum", "a")
        for late in (s.reset, s.close, client.models, lambda: s.step([[1, 0]]), lambda: client.open("sum")):
            with pytest.raises(Unavailable):
                late()
        client.close()


def test_work_that_comes_while_the_loop_ends_is_refused() -> None:
    async def last() -> None:
        late = pool.submit(loop.run, asyncio.sleep(0))
        with pytest.raises(Unavailable, match="closed"):
            await asyncio.wrap_future(late)

    loop = Loop()
    with ThreadPoolExecutor(1) as pool:
        loop.stop(last())
        loop.stop(last())


def test_an_end_that_fails_ends_the_thread_all_the_same() -> None:
    async def fails() -> None:
        raise OSError("scripted")

    before = set(threading.enumerate())
    loop = Loop()
    with pytest.raises(OSError, match="scripted"):
        loop.stop(fails())
    assert set(threading.enumerate()) == before


def test_nobody_there() -> None:
    with pytest.raises(Unavailable, match="no Headrace server"), Client("127.0.0.1:1", Settings(connect_timeout=0.1)):
        pass


async def two_pieces(asked: pb.GenerateRequest) -> AsyncIterator[pb.GenerateReply]:
    yield reply(Cell(text="a", tokens=[0]))
    yield reply(Cell(text="b", tokens=[1], ending=pb.MOST))
    if asked.most == 0:
        await asyncio.get_running_loop().create_future()


def test_texts_come_in_pieces_and_whole() -> None:
    with running() as server, connect(server.address) as client:
        server.writing = two_pieces
        assert [piece.text for piece in client.generate("letters", "a", max_tokens=2)] == ["a", "b"]
        (text,) = client.write("letters", "a", max_tokens=2)
        assert (text.text, text.tokens, text.ending) == ("ab", (0, 1), Ending.MOST)


def test_leaving_the_pieces_ends_the_call() -> None:
    with running() as server, connect(server.address) as client:
        server.writing = two_pieces
        for piece in client.generate("letters", "a"):
            assert piece.text == "a"
            break
        gone = asyncio.run_coroutine_threadsafe(server.until(lambda: server.cancelled == 1), server.loop)
        gone.result(20)
        coming = client.generate("letters", "a")
        next(coming)
        client.close()
        with pytest.raises(Unavailable):
            next(coming)


def test_a_sequence_forks() -> None:
    with running() as server, connect(server.address) as client, client.open("sum", "a") as source:
        total(source, 1)
        first, second = source.fork(2)
        assert (total(first, 2), total(second, 3), source.position) == (3, 4, 1)
