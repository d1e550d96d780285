"""Every peer under the same loads: its best setting for each is found, then all have their turn, round by round.

A peer that crashes under a load is started again, as somebody would who runs it; with a setting that makes it crash in
the trial it is not measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from headrace.spec import ModelSpec

from ..bare import Bare
from ..cores import pinned
from ..machine import Machine
from ..server import Running
from ..site import Site
from .found import Found, Tried
from .mlserver import MLServer
from .own import Echo, Headrace, OwnClient
from .peer import Peer, Setting, had
from .point import Point, measure, middles
from .pytriton import PyTriton
from .report import BARE
from .triton import Triton, environment
from .wire import StockClient

T = TypeVar("T")

#: Concurrent sequences of the loads.
SEQUENCES = (1, 8, 32, 200)
ROUNDS, STARTS = 3, 3

#: A setting's trial has so much of a turn's time.
TRIAL = 0.5

#: Steps whose answers are compared; seconds beyond its own after which a load is given up, and for what remains to end.
COMPARED, PATIENCE, SETTLING = 5, 30.0, 1.0

#: What a load may end with that is the peer's failure.
FAILURES = (RuntimeError, OSError, grpc.RpcError)

Work = Callable[[Running, ModelSpec], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one start of a server is loaded with."""

    peer: Peer
    setting: Setting
    sequences: tuple[int, ...]


def entrants(folder: Path) -> list[Peer]:
    """All of them; folder: where they are made."""
    triton, log = folder / "triton", folder / "headrace.log"
    others: list[Peer] = [
        Triton(triton),
        PyTriton(folder / "pytriton", environment(triton)),
        MLServer(folder / "mlserver"),
    ]
    return [Echo(), *others, Headrace(log), OwnClient(log)]


def compare(site: Site, peers: Sequence[Peer]) -> Found:
    """Peers that cannot be had are left out, with their reason."""
    versions, missing = had(peers)
    there = [peer for peer in peers if peer.name in versions]
    tried = [trial(site, peer, setting) for peer in there for setting in peer.settings]
    turns = [turn for peer in there for turn in _turns(peer, tried)]
    points = [p for _ in range(min(ROUNDS, site.rounds)) for turn in turns for p in _points(site, turn)]
    points += [_bare(site, rows) for rows in SEQUENCES]
    return Found(Machine.here(), versions, missing, tried, middles(points))


def trial(site: Site, peer: Peer, setting: Setting) -> Tried:
    """A short load of each kind; what the setting did until the peer failed is kept too."""
    rates: list[float] = []
    said: list[float] = []

    async def load(running: Running, spec: ModelSpec) -> None:
        said.extend(await answers(peer, running, spec, setting))
        for n in SEQUENCES:
            rates.append((await measure(peer, running, spec, setting, n, TRIAL * site.seconds)).rate)

    try:
        _load(site, peer, setting, load)
    except FAILURES as error:
        return Tried(peer.name, setting.name, rates, reason(error), said)
    return Tried(peer.name, setting.name, rates, "", said)


def reason(error: BaseException) -> str:
    """In one line."""
    said = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
    return f"{type(error).__name__}: {said}".splitlines()[0]


def best(tried: Sequence[Tried]) -> list[str]:
    """The name of the best setting of one peer for each load. Raises RuntimeError if it failed with every one."""
    whole = [each for each in tried if not each.failed]
    if not whole:
        raise RuntimeError("; ".join(f"{each.peer}, {each.setting}: {each.failed}" for each in tried))
    return [max(whole, key=lambda each: each.rates[load]).setting for load in range(len(whole[0].rates))]


def _turns(peer: Peer, tried: Sequence[Tried]) -> list[Turn]:
    """One for each setting that is kept, with the loads that it is best for."""
    kept = best([each for each in tried if each.peer == peer.name])
    loads = [tuple(n for n, name in zip(SEQUENCES, kept, strict=True) if name == s.name) for s in peer.settings]
    return [Turn(peer, setting, mine) for setting, mine in zip(peer.settings, loads, strict=True) if mine]


async def answers(peer: Peer, running: Running, spec: ModelSpec, setting: Setting) -> list[float]:
    """To equal steps of one sequence. All peers must say the same, or they compute something else."""
    async with peer.clients(running.address, spec, 1, setting) as (client,):
        if not isinstance(client, StockClient):
            return []
        said = [np.frombuffer(await client.answer(), "<f4") for _ in range(COMPARED)]
    return _flat(said)


def _flat(rows: Sequence[NDArray[np.float32]]) -> list[float]:
    return [float(value) for row in rows for value in row]


def _points(site: Site, turn: Turn) -> list[Point]:
    """The server is started for them, so that only one is there at a time. Raises what the last start ended with."""

    async def loads(running: Running, spec: ModelSpec) -> list[Point]:
        return [await measure(turn.peer, running, spec, turn.setting, n, site.seconds) for n in turn.sequences]

    for _ in range(STARTS - 1):
        with suppress(*FAILURES):
            return _load(site, turn.peer, turn.setting, loads)
    return _load(site, turn.peer, turn.setting, loads)


def _load(site: Site, peer: Peer, setting: Setting, work: Work[T]) -> T:
    """Serves on the server's core, and loads from the load's."""
    spec = site.bare().spec
    with pinned(site.server_core), peer.serve(site.model, spec, setting) as running:

        async def in_time() -> T:
            try:
                async with asyncio.timeout(len(SEQUENCES) * site.seconds + PATIENCE):
                    return await work(running, spec)
            finally:
                await _settled()

        return site.load(in_time())


async def _settled() -> None:
    """After a failure others are still waiting for their answers; gRPC must not tell a loop that is closed."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=SETTLING)


def _bare(site: Site, rows: int) -> Point:
    """The runtime alone, all sequences in one batch: what no server can exceed on that core."""
    with pinned(site.server_core):
        runs = Bare(site.model).runs(rows, site.seconds)
    p50, p99 = np.percentile(runs.times, [50, 99])
    return Point(BARE, "one thread", rows, runs.rate, float(p50), float(p99), runs.row_cpu, 0)
