"""Where a step's time goes: CPU time by thread, as the kernel counts it, and by function, as py-spy samples it.

py-spy counts a thread that waits for its core or for the interpreter's lock like one that runs. So it is asked for
those alone that hold the lock, and what they do is shared out over the CPU time that is not the runtime's, which the
server itself counts. Leaves `flame.svg`, a flame graph of the same.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.spec import ModelSpec

from .figures import Figure
from .load import Frames, closed_loop, metered, streaming
from .process import cpu_by_thread
from .server import Running
from .site import Site
from .speed import CONNECTIONS

ROWS, SHOWN = 64, 20

#: Samples a second.
SAMPLES = 250

#: The first frame of a stack: "thread (17144): lane lstm-2x256/1".
THREAD = re.compile(r"thread \((\d+)\): (.*)")

#: A frame, "commit (headrace/server/commit.py:21)", without its line.
FUNCTION = re.compile(r"(.*) \((.*?)(:\d+)?\)")

#: Threads that Python does not know of.
NATIVE = "threads of libraries"


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames from the thread's beginning to where it was met, so many times."""

    thread: int
    thread_name: str
    frames: tuple[str, ...]
    count: int


def stacks(raw: Iterable[str]) -> list[Stack]:
    """Of py-spy's raw format: "thread (id): name;frame;…;frame count" in every line."""
    found = []
    for line in raw:
        path, _, count = line.strip().rpartition(" ")
        first, *frames = path.split(";")
        if matched := THREAD.fullmatch(first):
            found.append(Stack(int(matched[1]), matched[2], tuple(frames), int(count)))
    return found


def by_thread(cpu: dict[int, float], sampled: Sequence[Stack]) -> dict[str, float]:
    """Seconds by the name of the thread, those that Python does not know of together."""
    names = {stack.thread: stack.thread_name for stack in sampled}
    total: dict[str, float] = {}
    for thread, seconds in cpu.items():
        name = names.get(thread, NATIVE)
        total[name] = total.get(name, 0.0) + seconds
    return total


def by_function(seconds: float, sampled: Sequence[Stack]) -> dict[str, float]:
    """Seconds in the function itself, not in those that it calls: `seconds` of all, shared out by samples."""
    counts: Counter[str] = Counter()
    for stack in sampled:
        counts[FUNCTION.sub(r"\1 (\2)", stack.frames[-1]) if stack.frames else stack.thread_name] += stack.count
    return {name: seconds * count / counts.total() for name, count in counts.items()}


@dataclass(frozen=True, slots=True)
class Profile:
    """threads: CPU seconds a step of each; compute: seconds a step inside the runtime; sampled: who held the lock."""

    threads: dict[int, float]
    compute: float
    sampled: tuple[Stack, ...]


async def _profiled(server: Running, spec: ModelSpec, site: Site) -> Profile:
    """CPU time while nobody looks; then what is seen."""
    async with streaming(server.address, spec, rows=ROWS, connections=CONNECTIONS) as streams:
        before = cpu_by_thread(server.process.pid)
        cost = await metered(server, streams, site.seconds)
        after = cpu_by_thread(server.process.pid)
        raw = site.pictures / "profile.raw"
        await _record(server, streams, "raw", raw, site.seconds)
        flame = site.pictures / "flame.svg"
        await _record(server, streams, "flamegraph", flame, site.seconds)
        flame.write_text(titled(flame.read_text()))
    spent = {thread: seconds - before.get(thread, 0.0) for thread, seconds in after.items()}
    scale = cost.cpu / sum(spent.values())  # they have got warm meanwhile, too
    return Profile(
        {thread: seconds * scale for thread, seconds in spent.items()},
        cost.usage.compute / cost.load.steps,
        tuple(stacks(raw.read_text().splitlines())),
    )


def titled(picture: str) -> str:
    """The flame graph under a title of its own: py-spy's is its command line, with this machine's paths."""
    title = f"CPU outside the runtime: frames of {ROWS} rows, one lane, one core"
    return re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", picture)


async def _record(server: Running, streams: Sequence[Frames], kind: str, file: Path, seconds: float) -> None:
    """py-spy beside the load. Raises RuntimeError with what it says if it cannot look."""
    whole = max(1, round(seconds))
    told = ["--pid", str(server.process.pid), "--duration", str(whole), "--rate", str(SAMPLES)]
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("py-spy"),
        *("record", *told, "--gil", "--threads", "--format", kind, "--output", str(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    (said, _), _ = await asyncio.gather(process.communicate(), closed_loop(streams, whole + 1))
    if process.returncode:
        raise RuntimeError(f"py-spy cannot look into the server: {said.decode().strip()}")


def profile(site: Site) -> list[Figure]:
    with site.server() as server:
        return figures(site.load(_profiled(server, site.bare().spec, site)))


def figures(found: Profile) -> list[Figure]:
    """Threads, the dearest first; the runtime; then what Python does beside it."""
    whole, threads = sum(found.threads.values()), by_thread(found.threads, found.sampled)
    functions = by_function(whole - found.compute - threads.get(NATIVE, 0.0), found.sampled)
    most = sorted(functions, key=functions.__getitem__, reverse=True)[:SHOWN]
    return [
        *(_figure(f"thread {name}", threads[name], whole) for name in sorted(threads, key=threads.__getitem__)[::-1]),
        _figure("inside ONNX Runtime", found.compute, whole),
        *(_figure(name, functions[name], whole) for name in most),
    ]


def _figure(name: str, seconds: float, whole: float) -> Figure:
    return Figure(name, 1e6 * seconds, "µs/step", note=f"{seconds / whole:.1%}")
