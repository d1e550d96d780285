"""Two lanes on two cores against one lane on one: what another core is worth.

Where there are no further cores the load runs beside them, so that steps a second would say nothing: CPU time a step
does. Whatever holds the interpreter's lock can run on one core at a time; its share is the end of scaling by lanes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median

from .cores import pinned
from .figures import Figure
from .load import Cost, cost
from .server import serving
from .site import Site, options
from .speed import CONNECTIONS

ROWS, LANES = 256, 2
LEAST = 1.8

Round = tuple[Cost, Cost]


def lanes(site: Site) -> list[Figure]:
    spec, models = site.bare().spec, site.model.parents[2]
    both = set(sorted(os.sched_getaffinity(0))[:LANES])
    log = site.results / "lanes.log"
    with site.server() as one, pinned(both), serving(models, options(LANES), log=log) as two:

        def costs() -> Round:
            work = {"rows": ROWS, "connections": CONNECTIONS}
            alone = site.load(cost(one, spec, **work, seconds=site.seconds))
            return alone, site.load(cost(two, spec, **work, seconds=site.seconds))

        return figures(site.repeat(costs))


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """rounds: the cost with one lane, and with two."""
    one, two, serial = (
        1e6 * median(costs)
        for costs in ([a.cpu for a, _ in rounds], [b.cpu for _, b in rounds], [b.outside for _, b in rounds])
    )
    return [
        Figure(
            "two lanes against one, by CPU time",
            median(LANES * a.cpu / b.cpu for a, b in rounds),
            "x",
            LEAST,
            at_least=True,
            note=f"{one:.1f} µs a step with one, {two:.1f} with two",
        ),
        Figure("CPU time outside the runtime, two lanes", serial, "µs/step", note=f"{serial / two:.0%} of all"),
        Figure("most lanes that this could feed", two / serial, "lanes", note="what is outside has one core at a time"),
    ]
