"""One peer under one load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from headrace.spec import ModelSpec

from ..load import WARM, closed_loop
from ..server import Running
from .peer import Peer, Setting
from .usage import cpu, memory


@dataclass(frozen=True, slots=True)
class Point:
    """rate: steps a second; p50, p99: seconds; cpu: the server's seconds on a core a step, all its processes together;
    memory: its bytes after the load."""

    peer: str
    setting: str
    sequences: int
    rate: float
    p50: float
    p99: float
    cpu: float
    memory: int


async def measure(
    peer: Peer, running: Running, spec: ModelSpec, setting: Setting, sequences: int, seconds: float
) -> Point:
    """Closed loop: each sequence sends its next step when its last is answered."""
    process = running.process.pid
    async with peer.clients(running.address, spec, sequences, setting) as streams:
        await closed_loop(streams, WARM)
        begun = cpu(process)
        load = await closed_loop(streams, seconds)
        spent = cpu(process) - begun
    p50, p99 = load.percentile(50), load.percentile(99)
    return Point(peer.name, setting.name, sequences, load.rate, p50, p99, spent / load.steps, memory(process))


def middles(points: Sequence[Point]) -> list[Point]:
    """Of the rounds of each load, each figure's median; in the order of the peers' and the loads' first."""
    loads: dict[tuple[str, int], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.sequences):
        loads.setdefault((point.peer, point.sequences), []).append(point)
    peers = list(dict.fromkeys(point.peer for point in points))
    return [_middle(rounds) for rounds in sorted(loads.values(), key=lambda rounds: peers.index(rounds[0].peer))]


def _middle(rounds: Sequence[Point]) -> Point:
    rate, p50, p99, cpu, memory = (
        median(column) for column in zip(*((p.rate, p.p50, p.p99, p.cpu, p.memory) for p in rounds), strict=True)
    )
    return replace(rounds[0], rate=rate, p50=p50, p99=p99, cpu=cpu, memory=int(memory))
