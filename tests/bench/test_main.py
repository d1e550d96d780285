"""The command: what runs, what is kept, and how it ends."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from headrace.bench.__main__ import main, run
from headrace.bench.figures import Figure, Measure, Record
from headrace.bench.measures import measures

GOOD, BAD = Figure("good", 1, "x", 2), Figure("bad", 3, "x", 2)


def broken(results: Path) -> list[Figure]:
    raise RuntimeError("the server did not start")


KNOWN: dict[str, Measure] = {"first": lambda results: [GOOD], "broken": broken, "last": lambda results: [BAD]}


def quiet() -> Console:
    return Console(file=StringIO(), width=140)


def test_all_run_in_their_order_and_leave_their_records(tmp_path: Path) -> None:
    figures, failed = run(KNOWN, [], tmp_path, quiet(), keep=True)
    assert figures == [GOOD, BAD]
    assert failed == ["broken: RuntimeError: the server did not start"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["first.json", "last.json"]
    assert Record.read(tmp_path / "last.json").figures == (BAD,)


def test_named_ones_run_alone_and_leave_nothing_if_it_is_but_tried(tmp_path: Path) -> None:
    assert run(KNOWN, ["last"], tmp_path, quiet(), keep=False) == ([BAD], [])
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_that_finds_nothing_leaves_the_last_record(tmp_path: Path) -> None:
    run(KNOWN, ["last"], tmp_path, quiet(), keep=True)
    assert run({"last": lambda results: []}, [], tmp_path, quiet(), keep=True) == ([], [])
    assert Record.read(tmp_path / "last.json").figures == (BAD,)


def test_an_unknown_name_ends_it_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"unknown measurement sped; there are first, broken, last"):
        run(KNOWN, ["first", "sped"], tmp_path, quiet(), keep=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (["first", "--check"], None),
        (["last"], None),
        (["last", "--check"], "bad: 3 x, not ≤ 2"),
        (["broken"], "broken: RuntimeError: the server did not start"),
        (["broken", "last", "--check"], "broken: RuntimeError: the server did not start\nbad: 3 x, not ≤ 2"),
    ],
)
def test_only_failures_and_checked_bounds_end_it_badly(arguments: list[str], end: str | None, tmp_path: Path) -> None:
    if end is None:
        main(arguments, KNOWN, tmp_path)
    else:
        with pytest.raises(SystemExit) as ended:
            main(arguments, KNOWN, tmp_path)
        assert ended.value.code == end  # a text is printed, and the status is 1


def test_a_quick_try_measures_the_same_things() -> None:
    assert list(measures(quick=True)) == list(measures(quick=False))
    assert {"speed", "leak", "profile"} < measures(quick=False).keys()
