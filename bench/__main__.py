"""`python -m bench [NAME …] [--check] [--quick]`, from the root of the repository: some measurements, or all."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .figures import Figure, Measure, Record, short, table
from .machine import Machine
from .measures import measures

RESULTS = Path("bench/results")

#: The table needs so many, also where the output is no terminal.
COLUMNS = 140


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    """Measures, prints a table, writes `results/NAME.json` for each.

    Raises SystemExit with what failed; with --check also with the rows that fall short.
    """
    given = _parser().parse_args(arguments)
    problems = run(measures(quick=given.quick), given.names, results, wide(), check=given.check)
    if problems:
        raise SystemExit("\n".join(problems))


def wide() -> Console:
    return Console(width=max(Console().width, COLUMNS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="What the server adds to bare ONNX Runtime, measured.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(measures(quick=False))}; else all")
    parser.add_argument("--check", action="store_true", help="exit 1 and name the rows that fall short")
    parser.add_argument("--quick", action="store_true", help="to try it out: too short for figures to be believed")
    return parser


def run(known: dict[str, Measure], names: Sequence[str], results: Path, console: Console, *, check: bool) -> list[str]:
    """One measurement after the other; one that fails does not keep the others from their turn.

    Returns what failed and, if they are checked, the rows that fall short. Raises SystemExit for unknown names.
    """
    if unknown := set(names) - known.keys():
        raise SystemExit(f"unknown measurement {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results.mkdir(parents=True, exist_ok=True)
    found: list[Figure] = []
    problems = []
    for name in names or known:
        try:
            found += one(name, known[name], results, console)
        except Exception as error:  # whatever it is, the others are still worth having
            traceback.print_exc()
            problems.append(f"{name}: {type(error).__name__}: {error}")
    return problems + (short(found) if check else [])


def one(name: str, measure: Measure, results: Path, console: Console) -> list[Figure]:
    console.rule(name)
    figures = measure(results)
    Record(name, Machine.here(), tuple(figures)).write(results)
    console.print(table(figures))
    return figures


if __name__ == "__main__":
    main()
