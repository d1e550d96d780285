"""What a server has used and done so far; the difference of two says what a load cost it."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass

from .process import cpu_seconds
from .server import Running

COMPUTE = "headrace_compute_cpu_seconds_total"


@dataclass(frozen=True, slots=True)
class Usage:
    """cpu: seconds on a core in all; compute: those of them inside the runtime."""

    cpu: float
    compute: float = 0.0

    def __sub__(self, before: Usage) -> Usage:
        return Usage(self.cpu - before.cpu, self.compute - before.compute)

    @property
    def outside(self) -> float:
        """CPU seconds that are not the runtime's."""
        return self.cpu - self.compute


class Meter:
    """Of one server. `begin` and `end` enclose a load; reading the metrics is no part of what they count."""

    def __init__(self, server: Running) -> None:
        self._server = server

    def begin(self) -> Usage:
        compute = self._compute()
        return Usage(cpu_seconds(self._server.process.pid), compute)

    def end(self, begun: Usage) -> Usage:
        """Raises RuntimeError if the server does not say what its runtime used: all would count as its own then."""
        cpu = cpu_seconds(self._server.process.pid)
        spent = Usage(cpu, self._compute()) - begun
        if self._server.metrics and not spent.compute:
            raise RuntimeError(f"the server counts no {COMPUTE}")
        return spent

    def _compute(self) -> float:
        return metrics(self._server.metrics)[COMPUTE] if self._server.metrics else 0.0


def metrics(url: str) -> dict[str, float]:
    """Name → value, summed over the labels. Buckets of histograms are left out."""
    with urllib.request.urlopen(url) as page:
        return parsed(page.read().decode())


def parsed(text: str) -> dict[str, float]:
    """Of Prometheus' text format."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("{") if "{" in line else line.partition(" ")
        if not name.startswith("#") and not name.endswith("_bucket"):
            found[name] = found.get(name, 0.0) + float(rest.rpartition(" ")[2])
    return found
