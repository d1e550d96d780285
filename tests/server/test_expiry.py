"""Idle sequences are looked for now and then, not in every turn."""

from __future__ import annotations

from headrace.server.commands import Mode, Open
from headrace.server.expiry import EXPIRY_INTERVAL
from headrace.server.limits import Limits

from .fakes import Clock, Heard, admit, sum_lane
from .test_lane_faults import BadMeter


def test_an_idle_sequence_leaves_with_the_next_look_whether_or_not_that_is_measured() -> None:
    clock, limits = Clock(), Limits(rows=4, tokens=64, sequences=8, idle=EXPIRY_INTERVAL / 2)
    lane = sum_lane(clock, limits=limits, meter=BadMeter())
    for key in (1, 2):
        admit(lane, Open(Heard(), key, ("", "a"), Mode.FRESH, 1))
        live = []
        for _ in range(2):  # it is idle for long enough both times
            clock.now += 0.6 * EXPIRY_INTERVAL
            admit(lane)
            live.append(len(lane.state.sequences))
        assert live == [1, 0]
