"""Reply frames stay small, whatever has gathered."""

from __future__ import annotations

import numpy as np

from headrace.server.rpc.frames import FRAME_BYTES, in_frames
from headrace.server.steps import Answer, Opened, Stepped


def stepped(cells: int) -> Stepped:
    column = np.zeros(1, np.int64)
    return Stepped(column.astype(np.uint32), column, column, (np.zeros(cells, np.float32),))


def test_answers_are_cut_into_frames_in_order() -> None:
    large = stepped(FRAME_BYTES // 8)
    answers: list[Answer] = [large, large, Opened(1, "1", 0, resumed=False), large, stepped(FRAME_BYTES), large]
    cut = list(in_frames(answers))
    assert [len(frame) for frame in cut] == [3, 1, 1, 1]
    assert [answer for frame in cut for answer in frame] == answers
    assert not list(in_frames([]))
