"""A frame's rows by columns: as if each had come in a frame of its own; and what may not stall a lane."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.admission import MOST_EXPIRED
from headrace.server.commands import Close, Mode, Open, Step
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, Failed, Stepped, Steps

from .fakes import Clock, Heard, steps, sum_lane

KEYS = range(4)
Row = tuple[int, int, int, bool]  # key, shift of its position, length, whether it acknowledges what was answered
ROWS = st.lists(
    st.tuples(
        st.sampled_from(KEYS), st.sampled_from([0, 0, 0, 0, -1, 1]), st.sampled_from([1, 1, 1, 3]), st.booleans()
    ),
    min_size=1,
    max_size=6,
)


class Caller:
    """Knows where its sequences stand, and sends the same rows in one frame or in many."""

    def __init__(self) -> None:
        self.sink, self.lane = Heard(), sum_lane(Clock(), limits=Limits(rows=3, tokens=64, sequences=4))
        for key in KEYS:
            self.lane.post(Open(self.sink, key, ("", str(key)), Mode.FRESH, 1))
        self.lane.admit(wait=False)
        self.sink.take()

    def frame(self, rows: list[Row]) -> Steps:
        """Behind all that is queued; `shift` moves a row off its place."""
        sequences, at = self.lane.state.sequences, dict.fromkeys(KEYS, 0)
        columns, acked = [], []
        for key, shift, length, acknowledges in rows:
            number = sequences.names["", str(key)]
            position = max(0, int(sequences.expected[number]) + at[key] + shift)
            columns.append((key, position, [1.0] * length))
            acked.append(int(sequences.position[number]) if acknowledges else 0)
            at[key] += length if not shift else 0
        return steps(self.sink, columns, acked=acked)

    def hear(self, *frames: Steps, settle: bool) -> list[str]:
        """What is said of the rows, in the order of their keys; `settle`: all that is queued runs."""
        for frame in frames:
            self.lane.post(Step(frame))
        self.lane.admit(wait=False)
        while settle and self.lane.state.scheduler:
            self.lane.tick()
        return sorted(line for answer in self.sink.take() for line in said(answer))


def said(answer: object) -> list[str]:
    """One line for each row that it answers."""
    if isinstance(answer, Failed):
        return [f"{answer.key} {answer.position} {answer.error!r}"]
    assert isinstance(answer, Stepped)
    cells = zip(answer.keys.tolist(), answer.positions.tolist(), answer.outputs[1][:, 0].tolist(), strict=True)
    return [f"{key} {position} {last}" for key, position, last in cells]


def books(lane: Lane) -> list[list[float]]:
    sequences, kept = lane.state.sequences, lane.state.kept
    columns = (sequences.position, sequences.expected, sequences.pending, kept.count, kept.size)
    return [column.tolist() for column in columns] + [[kept.total, kept.size.sum()]]


@given(frames=st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_a_frame_is_admitted_as_its_rows_one_by_one(frames: list[tuple[list[Row], bool]]) -> None:
    whole, cut = Caller(), Caller()
    for rows, settle in frames:
        frame, other = whole.frame(rows), cut.frame(rows)
        alone = [other.take(np.array([row])) for row in range(len(rows))]
        assert whole.hear(frame, settle=settle) == cut.hear(*alone, settle=settle)
        assert books(whole.lane) == books(cut.lane)
        assert whole.lane.state.kept.total == whole.lane.state.kept.size.sum()


def test_a_frame_that_goes_straight_on_leaves_the_books_as_any_other() -> None:
    """Each row acknowledges the reply before it, so its room passes on; then all is acknowledged."""
    caller = Caller()
    for _ in range(3):
        caller.hear(caller.frame([(key, 0, 1, True) for key in KEYS]), settle=True)
    kept = caller.lane.state.kept
    assert kept.count.tolist() == [1] * 4 and kept.total == kept.size.sum() == 4 * kept.sizes(np.ones(1, np.int64))[0]
    assert kept.find(0, 2, 1) is not None and kept.find(0, 1, 1) is None
    last = [(key, 3, [1.0]) for key in KEYS]
    caller.hear(steps(caller.sink, last, acked=[3] * 4), settle=False)
    caller.lane.state.kept.release(np.arange(4), np.ones(4, np.int64))
    assert kept.total == 0 and not kept.count.any()


def test_nothing_goes_straight_on_behind_a_close() -> None:
    caller = Caller()
    caller.hear(steps(caller.sink, [(0, 0, [1.0])]), settle=True)
    caller.hear(steps(caller.sink, [(0, 1, [1.0])], acked=[0]), settle=False)
    caller.lane.post(Close(caller.sink, (0,)))
    assert "was closed" in caller.hear(steps(caller.sink, [(0, 2, [1.0])], acked=[1]), settle=False)[0]


def test_rows_that_are_never_sent_again_keep_nothing() -> None:
    caller = Caller()
    for position in range(3):
        rows = [(key, position, [1.0]) for key in KEYS]
        caller.hear(steps(caller.sink, rows, acked=[NEVER_AGAIN] * 4), settle=True)
    kept = caller.lane.state.kept
    assert kept.total == 0 and not kept.count.any() and kept.find(0, 2, 1) is None


def test_sequences_that_end_together_leave_in_several_turns() -> None:
    clock, sink, many = Clock(), Heard(), 2 * MOST_EXPIRED + 1
    lane = sum_lane(clock, limits=Limits(rows=4, tokens=64, sequences=many, idle=60.0))
    for key in range(many):
        lane.post(Open(sink, key, ("", str(key)), Mode.FRESH, 1))
    lane.admit(wait=False)
    clock.now += 61
    sink.take()
    left = []
    lane.turns.own()
    for _ in range(3):
        lane.admit(wait=True)  # it does not wait while more are to leave
        left.append(len(sink.take()))
    assert left == [MOST_EXPIRED, MOST_EXPIRED, 1] and len(lane.state.sequences) == 0
