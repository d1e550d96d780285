"""Samples become seconds: of threads, and of functions."""

from __future__ import annotations

import pytest

from headrace.bench.profile import NATIVE, Profile, Stack, by_function, by_thread, figures, stacks, titled

RAW = """\
thread (11): lane m/1;Thread.run (threading.py:982);Lane._loop (server/lane.py:108);run (server/engine.py:56) 6
thread (11): lane m/1;Thread.run (threading.py:982);Lane._loop (server/lane.py:108) 1
thread (11): lane m/1;Thread.run (threading.py:982);Lane._loop (server/lane.py:110) 1
thread (10): MainThread;serve (headrace/cli.py:97);select (selectors.py:468) 5
"""
CPU = {10: 2.0, 11: 8.0, 12: 0.5, 13: 0.25}  # the last two were never met in Python


def test_a_line_is_a_stack() -> None:
    first, *_ = found = stacks(RAW.splitlines())
    assert len(found) == 4
    assert (first.thread, first.thread_name, first.count) == (11, "lane m/1", 6)
    assert first.frames[-1] == "run (server/engine.py:56)"


def test_threads_have_their_names_and_native_ones_one_together() -> None:
    assert by_thread(CPU, stacks(RAW.splitlines())) == {"lane m/1": 8.0, "MainThread": 2.0, NATIVE: 0.75}


def test_functions_share_the_time_whatever_the_line() -> None:
    shares = by_function(26.0, stacks(RAW.splitlines()))
    expected = {"run (server/engine.py)": 12.0, "Lane._loop (server/lane.py)": 4.0, "select (selectors.py)": 10.0}
    assert shares == pytest.approx(expected)


def test_figures_are_microseconds_and_the_dearest_come_first() -> None:
    sampled = (Stack(11, "lane", ("f (a.py:1)",), 3), Stack(10, "loop", ("g (b.py:1)",), 1))
    found = figures(Profile({10: 4e-6, 11: 20e-6, 12: 1e-6}, 15e-6, sampled))
    assert [(f.name, round(f.value, 9), f.note) for f in found] == [
        ("thread lane", 20, "80.0%"),
        ("thread loop", 4, "16.0%"),
        (f"thread {NATIVE}", 1, "4.0%"),
        ("inside ONNX Runtime", 15, "60.0%"),
        ("f (a.py)", 6.75, "27.0%"),  # of what neither the runtime nor gRPC itself has used
        ("g (b.py)", 2.25, "9.0%"),
    ]


def test_a_flame_graph_tells_no_path_of_the_machine() -> None:
    picture = '<svg><text id="title" x="1">/home/me/py-spy record --pid 7</text><text id="details"> </text></svg>'
    assert "/home" not in titled(picture)
    assert titled(picture).count("CPU outside the runtime") == 1
    assert titled(picture).endswith('<text id="details"> </text></svg>')
