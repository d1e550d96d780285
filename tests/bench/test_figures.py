"""A figure knows whether it reaches its bound, and survives being written and read."""

from __future__ import annotations

from io import StringIO
from math import nan
from pathlib import Path

import pytest
from rich.console import Console

from headrace.bench.figures import Figure, Record, number, short, table
from headrace.bench.machine import Machine, cpu_model

MOST, LEAST = Figure("cost", 1.5, "x", 1.5), Figure("rate", 0.8, "of bare", 0.8, at_least=True)


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (MOST, True),
        (Figure("cost", 1.51, "x", 1.5), False),
        (LEAST, True),
        (Figure("rate", 0.79, "of bare", 0.8, at_least=True), False),
        (Figure("told", -1e9, "x"), True),
        (Figure("nothing", nan, "x", 1.0), False),
        (Figure("nothing", nan, "x", 1.0, at_least=True), False),
    ],
)
def test_a_bound_is_reached_or_not(figure: Figure, reached: bool) -> None:
    assert figure.reached is reached


def test_what_falls_short_is_named_with_what_it_should_be() -> None:
    figures = [
        MOST,
        Figure("slow", 700, "steps/s", 25_000, at_least=True),
        Figure("close", 1.797, "x", 1.8, at_least=True),
    ]
    assert short(figures) == ["slow: 700 steps/s, not ≥ 25,000", "close: 1.797 x, not ≥ 1.8"]


def test_a_table_marks_what_falls_short() -> None:
    out = StringIO()
    Console(file=out, width=120).print(table([MOST, Figure("dear", 2, "x echo", 1.5, note="as seen")]))
    head, good, bad = out.getvalue().splitlines()
    assert "✗" in bad and "as seen" in bad and "✗" not in good and "must be" in head


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record("speed", Machine.here(), (MOST, LEAST))
    assert Record.read(record.write(tmp_path)) == record


@pytest.mark.parametrize(
    ("value", "shown"), [(0.8812, "0.881"), (37_485.4, "37,485"), (1.3, "1.3"), (883, "883"), (-8.16, "-8.16")]
)
def test_numbers_for_people(value: float, shown: str) -> None:
    assert number(value) == shown


def test_the_cpu_is_named_as_the_kernel_names_it(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Acme 9\nprocessor\t: 1\nmodel name\t: Acme 9\n")
    assert cpu_model(info) == "Acme 9"
    assert cpu_model(tmp_path / "nowhere") != ""
