"""`python -m headrace.bench [NAME]`: one measurement, or all."""

from __future__ import annotations

import sys
from pathlib import Path

from .speed import speed

RESULTS = Path("bench/results")
MEASUREMENTS = {"speed": speed}


def main(names: list[str]) -> None:
    if unknown := set(names) - MEASUREMENTS.keys():
        raise SystemExit(f"unknown measurement {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in names or MEASUREMENTS:
        MEASUREMENTS[name](RESULTS)


if __name__ == "__main__":
    main(sys.argv[1:])
