"""500 tasks of one program, each awaiting `step()` of a sequence of its own through the client library."""

from __future__ import annotations

from statistics import median

from .figures import Figure
from .site import Site
from .tasks import tasks

COUNT = 500
LEAST = 25_000


def clients(site: Site) -> list[Figure]:
    model = site.bare().spec.name
    with site.server() as server:
        loads = site.repeat(lambda: site.load(tasks(server.address, model, count=COUNT, seconds=site.seconds)))
    rate = median(load.rate for load in loads)
    ms = [1e3 * median(load.percentile(q) for load in loads) for q in (50, 99)]
    note = f"p50 {ms[0]:.1f} ms, p99 {ms[1]:.1f} ms; the program has one core"
    return [Figure(f"{COUNT} tasks through the client", rate, "steps/s", LEAST, at_least=True, note=note)]
