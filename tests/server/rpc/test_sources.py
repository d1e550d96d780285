"""Sources of sequences: bytes become columns, and the lane hears of them with the open."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from headrace.errors import InvalidInput
from headrace.protos import sequences_pb2 as pb
from headrace.server.commands import Open
from headrace.server.rpc.sources import read_source
from headrace.spec import Input, Start

from .oip import served
from .texts import LETTERS, TRANSLATOR, WritingLane, writing
from .wire import Wire

SEEN = Input(name="seen", dtype="float32", shape=(2,))
PAIR = TRANSLATOR.model_copy(
    update={"start": Start(inputs=(SEEN, Input(name="ids", dtype="int64", vocabulary=4)), longest=8)}
)
X, IDS = np.arange(6, dtype="<f4").reshape(3, 2), np.array([1, 2, 3], "<i8")


def test_a_source_has_a_tensor_for_each_input_of_the_start_graph() -> None:
    x, ids = read_source([X.tobytes(), IDS.tobytes()], PAIR)
    assert np.array_equal(x, X) and np.array_equal(ids, IDS) and x.dtype == np.float32
    assert read_source([], PAIR) == () == read_source([], LETTERS)


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        ([X.tobytes()], "has 2 inputs"),
        ([X.tobytes(), IDS[:2].tobytes()], r"ids must be int64 \[3\]"),
        ([X.tobytes()[:-1], IDS[:2].tobytes()], r"seen must be float32 \[2, 2\]"),
    ],
)
def test_what_does_not_fit_the_start_graph_is_refused(cells: list[bytes], word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        read_source(cells, PAIR)


def test_an_open_carries_its_source_to_the_lane() -> None:
    async def test() -> None:
        lane, other = WritingLane(), WritingLane()
        async with writing(served(TRANSLATOR, lane), served(LETTERS, other)) as channel:
            wire, source = Wire(channel), [np.array([1, 0], "<i8").tobytes()]
            opens = [
                pb.Open(key=1, model="translator", id="a", incarnation=1, source=source),
                pb.Open(key=2, model="letters", id="b", incarnation=1, source=source),
            ]
            (error,) = (await wire.ask(pb.Request(opens=opens), 1)).errors
            assert (error.key, error.code, "no start graph" in error.message) == (2, pb.INVALID_INPUT, True)
            (opened,) = [command for command in lane.posted if isinstance(command, Open)]
            assert [given.tolist() for given in opened.source] == [[1, 0]]
            assert not other.posted

    asyncio.run(asyncio.wait_for(test(), 20))
