"""`python -m bench [NAME …] [--check] [--quick]`, from the root of the repository: some measurements, or all.

`python -m bench docs` measures nothing: it puts what was measured last into docs/performance.md.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from . import docs
from .figures import Figure, Measure, Record, short, table
from .machine import Machine
from .measures import measures
from .plots import bars

RESULTS = Path("bench/results")

#: The table needs so many, also where the output is no terminal.
COLUMNS = 140

DOCS = "docs"


def main(
    arguments: Sequence[str] | None = None, known: dict[str, Measure] | None = None, results: Path = RESULTS
) -> None:
    """Measures, prints tables, writes `results/NAME.json` for each and `results/summary.png` for all.

    Raises SystemExit with what failed; with --check also with the rows that fall short.
    """
    given = _parser().parse_args(arguments)
    if given.names == [DOCS]:
        print(docs.told(docs.PAGE, docs.write(results, docs.PAGE)))
        return
    console = wide()
    figures, problems = run(known or measures(quick=given.quick), given.names, results, console, keep=not given.quick)
    console.rule("all bounds")
    console.print(table([figure for figure in figures if figure.bound is not None]))
    if figures and not given.quick:
        bars(results / "summary.png", figures)
    if problems := problems + (short(figures) if given.check else []):
        raise SystemExit("\n".join(problems))


def wide() -> Console:
    return Console(width=max(Console().width, COLUMNS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="What the server adds to bare ONNX Runtime, measured.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(measures(quick=False))}; or {DOCS}")
    parser.add_argument("--check", action="store_true", help="exit 1 and name the rows that fall short")
    parser.add_argument("--quick", action="store_true", help="to try it out: too short to be believed, and not kept")
    return parser


def run(
    known: dict[str, Measure], names: Sequence[str], results: Path, console: Console, *, keep: bool
) -> tuple[list[Figure], list[str]]:
    """One measurement after the other; one that fails does not keep the others from their turn.

    keep: whether `results/NAME.json` is written. Returns what was found and what failed. Raises SystemExit for unknown
    names.
    """
    if unknown := set(names) - known.keys():
        raise SystemExit(f"unknown measurement {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results.mkdir(parents=True, exist_ok=True)
    found: list[Figure] = []
    failed: list[str] = []
    for name in names or known:
        try:
            found += one(name, known[name], results, console, keep=keep)
        except Exception as error:  # whatever it is, the others are still worth having
            traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return found, failed


def one(name: str, measure: Measure, results: Path, console: Console, *, keep: bool) -> list[Figure]:
    console.rule(name)
    figures = measure(results)
    if keep and figures:  # nothing found here does not undo what was found elsewhere
        Record(name, Machine.here(), tuple(figures)).write(results)
    console.print(table(figures))
    return figures


if __name__ == "__main__":
    main()
