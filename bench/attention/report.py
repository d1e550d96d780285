"""What a comparison says: figures with bounds, and a table and a picture for people."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure as Picture

from ..figures import Figure, number
from .entrants import NEAR_US, OURS
from .found import Found, Point
from .truth import NEAR, Judged
from .workload import LOADS

#: Where we have to be the first.
FIRST = (8, 32)

#: A library in a process of its own uses its core whole, unless something else runs there.
QUIET = 0.95

HEAD = "| Library | Sequences | tokens/s | first token, ms | CPU a token, µs |\n|---|---|---|---|---|\n"
CHECKED = f"""What they write, against eager PyTorch: the largest difference of logits behind a prompt, the tokens that
are not the likeliest by more than {NEAR:g}, and those of which two symbols are nearer than that:

| Library | logits apart | wrong | near |
|---|---|---|---|
"""


def figures(found: Found) -> list[Figure]:
    """A figure without bound says why an entrant is not there."""
    others = [name for name in found.entrants if name not in (OURS, NEAR_US)]
    there = OURS in found.entrants and others
    measured = [f for load in LOADS for f in _against(found, others, load)] if there else []
    without = [Figure(f"without {name}", 1, "entrant", note=reason) for name, reason in found.missing.items()]
    return [*_same(found), *measured, *without]


def _same(found: Found) -> list[Figure]:
    """All must write the same, or they compute something else."""
    if not found.checked:
        return []
    worst, checked = max(found.checked.items(), key=lambda entry: entry[1].apart)
    judged = sum((c.judged for c in found.checked.values()), Judged(0, 0, 0))
    note = f"of {judged.decisions:,} tokens of {len(found.checked)} libraries; near ties: {judged.near}"
    return [
        Figure("logits of all, from eager PyTorch's", checked.apart, "apart", NEAR, note=f"the farthest: {worst}"),
        Figure("tokens that are not the likeliest", judged.wrong, "tokens", 0, note=note),
    ]


def _against(found: Found, others: list[str], load: int) -> list[Figure]:
    """With so many sequences: tokens a second, and the time to the first one, each against the best other."""
    ours, points = found.at(OURS, load), [found.at(name, load) for name in others]
    beside = [found.at(NEAR_US, load)] if NEAR_US in found.entrants else []
    fastest, quickest = max(points, key=lambda p: p.rate), min(points, key=lambda p: p.first)
    lightest = min(points, key=lambda p: p.cpu)
    rates = [f"{ours.rate:,.0f}", *(f"{p.entrant} {p.rate:,.0f}" for p in (fastest, *beside)), *_doubts(fastest)]
    firsts = [f"{_ms(ours)} ms", *(f"{p.entrant} {_ms(p)}" for p in (quickest, *beside))]
    costs = [f"{p.entrant} {1e6 * p.cpu:,.0f} µs" for p in (ours, lightest)]
    faster, sooner, lighter = ours.rate / fastest.rate, ours.first / quickest.first, ours.cpu / lightest.cpu
    bound, of = 1.0 if load in FIRST else None, "x the best other"
    return [
        Figure(f"tokens/s, {load} sequences", faster, of, bound, at_least=True, note="; ".join(rates)),
        Figure(f"first token, {load} sequences", sooner, of, bound, note="; ".join(firsts)),
        Figure(f"CPU a token, {load} sequences", lighter, of, note="; ".join(costs)),
    ]


def _doubts(fastest: Point) -> list[str]:
    """Whether who should have had a core to itself had it."""
    share = fastest.rate * fastest.cpu
    return [] if share >= QUIET else [f"not to be believed: {fastest.entrant} had {share:.0%} of its core"]


def text(found: Found) -> str:
    """Markdown: the day, the versions, all points, and whether all write the same."""
    had = [f"- {name}: {versions}" for name, versions in found.versions.items() if name not in found.missing]
    skipped = [f"- {name}: skipped, {reason}" for name, reason in found.missing.items()]
    day = f"{found.machine}; {found.rounds} rounds"
    parts = [day, "\n".join(had + skipped), HEAD + "".join(map(_row, found.points)), CHECKED + "".join(_checked(found))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _row(p: Point) -> str:
    return f"| {p.entrant} | {p.sequences} | {p.rate:,.0f} | {_ms(p)} | {1e6 * p.cpu:,.0f} |\n"


def _checked(found: Found) -> list[str]:
    rows = found.checked.items()
    return [f"| {name} | {c.apart:.0e} | {c.judged.wrong} | {c.judged.near} |\n" for name, c in rows]


def _ms(point: Point) -> str:
    return number(1e3 * point.first)


def picture(found: Found, file: Path) -> None:
    """Tokens a second and time to the first token, over sequences."""
    drawn = Picture(figsize=(11, 5), layout="constrained")
    rates, firsts = drawn.subplots(1, 2)
    for name in found.entrants:
        points, style = [p for p in found.points if p.entrant == name], "-" if name in (OURS, NEAR_US) else "--"
        loads = [p.sequences for p in points]
        rates.loglog(loads, [p.rate for p in points], style, marker="o", label=name)
        firsts.loglog(loads, [1e3 * p.first for p in points], style, marker="o")
    for axes, label in ((rates, "tokens/s"), (firsts, "median time to the first token, ms")):
        axes.set(xlabel="sequences at once", ylabel=label)
        axes.set_xticks(LOADS, [str(load) for load in LOADS])
        axes.grid(alpha=0.3)
    drawn.legend(loc="outside lower center", ncols=3, fontsize="small")
    drawn.savefig(file, dpi=80)
