"""What a comparison says: figures with bounds, and a table and a picture for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Picture

from ..figures import Figure, number
from .found import Found, Tried
from .point import Point

ECHO, TRITON, OURS, OWN = "echo", "Triton", "Headrace", "Headrace, own client"
BARE = "bare ONNX Runtime"

#: What must be shown: at 32 sequences of the stock client so much of Triton's steps a second, or of the echo's, for so
#: much of Triton's CPU; and with our own client at 200 so much of Triton's steps a second.
OF_TRITON, OF_ECHO, OF_CPU, OF_OWN = 1.5, 0.9, 0.67, 8.0

#: Peers compute the same up to the rounding of other kernels.
SAME = 1e-4

HEAD = "| Server | Sequences | steps/s | p50 ms | p99 ms | server CPU a step, µs | memory, MiB | setting |\n"
LOADS = 4
RULE = "|---" * 8 + "|\n"

TRIED = """Settings tried shortly, of which the best for each load was kept:

| Server | Setting | steps/s at 1 | 8 | 32 | 200 | |
|---|---|---|---|---|---|---|
"""


def figures(found: Found) -> list[Figure]:
    """Bounds are left out where there is none to compare with; a figure says why."""
    others = [peer for peer in found.peers if peer not in (ECHO, BARE, OURS, OWN)]
    quickest = [_quickest(found, [found.at(peer, 1) for peer in others])] if others else []
    against = _against_triton(found) if TRITON in others else []
    without = [Figure(f"without {name}", 1, "peer", note=reason) for name, reason in found.missing.items()]
    return [_same(found), *quickest, *against, *without]


def _same(found: Found) -> Figure:
    said = {each.peer: np.array(each.answers) for each in found.tried if each.answers and each.peer != ECHO}
    apart = max(float(np.abs(answers - said[OURS]).max()) for answers in said.values())
    note = f"largest difference in {len(said[OURS])} numbers, of {', '.join(said)}"
    return Figure("peers' answers are ours", apart, "apart", SAME, note=note)


def _quickest(found: Found, others: list[Point]) -> Figure:
    """The same stock client for all."""
    ours = found.at(OURS, 1).p50
    note = f"{_ms(ours)} ms; " + ", ".join(f"{p.peer} {_ms(p.p50)}" for p in others)
    note += f"; own client {_ms(found.at(OWN, 1).p50)}, echo {_ms(found.at(ECHO, 1).p50)}"
    return Figure("one stock client, p50", ours / min(p.p50 for p in others), "x the quickest peer", 1.0, note=note)


def _against_triton(found: Found) -> list[Figure]:
    ours, triton, echo = (found.at(peer, 32) for peer in (OURS, TRITON, ECHO))
    shares = [(ours.rate / most.rate / part, part, most.peer) for most, part in ((triton, OF_TRITON), (echo, OF_ECHO))]
    share, part, nearer = max(shares)
    rates = f"{ours.rate:,.0f} steps/s; Triton {triton.rate:,.0f}, echo {echo.rate:,.0f}"
    own, far = found.at(OWN, 200), found.at(TRITON, 200)
    return [
        Figure("stock client at 32, steps/s", share, f"of {part} x {nearer}", 1.0, at_least=True, note=rates),
        Figure(
            "stock client at 32, server CPU a step",
            ours.cpu / triton.cpu,
            "x Triton",
            OF_CPU,
            note=f"{1e6 * ours.cpu:.0f} µs; Triton {1e6 * triton.cpu:.0f}, echo {1e6 * echo.cpu:.0f}",
        ),
        Figure(
            "own client at 200, steps/s",
            own.rate / far.rate,
            "x Triton",
            OF_OWN,
            at_least=True,
            note=f"{own.rate:,.0f} steps/s; Triton {far.rate:,.0f}",
        ),
    ]


def text(found: Found) -> str:
    """Markdown: the day, the versions and settings, all points, and what was tried."""
    parts = [str(found.machine), _entrants(found), HEAD + RULE + "".join(map(_row, found.points)), _trials(found)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _entrants(found: Found) -> str:
    had = [f"- {name}: {versions}" for name, versions in found.versions.items()]
    return "\n".join(had + [f"- {name}: skipped, {reason}" for name, reason in found.missing.items()])


def _row(p: Point) -> str:
    memory = f"{p.memory / 2**20:,.0f}" if p.memory else ""
    times = f"{_ms(p.p50)} | {_ms(p.p99)} | {1e6 * p.cpu:,.0f}"
    return f"| {p.peer} | {p.sequences} | {p.rate:,.0f} | {times} | {memory} | {p.setting} |\n"


def _trials(found: Found) -> str:
    """Of those with a choice."""
    choices = [t for t in found.tried if sum(t.peer == other.peer for other in found.tried) > 1]
    return f"{TRIED}{''.join(map(_trial, choices))}"


def _trial(tried: Tried) -> str:
    rates = [number(rate) for rate in tried.rates] + [""] * (LOADS - len(tried.rates))
    return f"| {tried.peer} | {tried.setting} | {' | '.join(rates)} | {tried.failed} |\n"


def _ms(seconds: float) -> str:
    return number(1e3 * seconds)


def picture(found: Found, file: Path) -> None:
    """Steps a second and server CPU a step, over concurrent sequences."""
    drawn = Picture(figsize=(11, 4.5), layout="constrained")
    rates, costs = drawn.subplots(1, 2)
    for peer in found.peers:
        points = [p for p in found.points if p.peer == peer]
        loads, style = [p.sequences for p in points], "--" if peer in (ECHO, BARE) else "-"
        rates.loglog(loads, [p.rate for p in points], style, marker="o", label=peer)
        costs.loglog(loads, [1e6 * p.cpu for p in points], style, marker="o")
    ticks = sorted({p.sequences for p in found.points})
    for axes, label in ((rates, "steps/s"), (costs, "server CPU a step, µs")):
        axes.set(xlabel="concurrent sequences", ylabel=label)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.grid(alpha=0.3)
    drawn.legend(loc="outside lower center", ncols=len(found.peers), fontsize="small")
    drawn.savefig(file, dpi=80)
