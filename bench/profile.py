"""Where a step's time goes: CPU time by thread, as the kernel counts it, and by function, as py-spy samples it.

Leaves `flame.svg`, a flame graph of all threads. Functions are of Python: what is below them in libraries is
theirs, so that a run of ONNX Runtime is the time of `OnnxEngine.run`.
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
from .load import WARM, Frames, closed_loop, streaming
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
NATIVE = "gRPC's own threads"


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


def by_function(cpu: dict[int, float], sampled: Sequence[Stack]) -> dict[str, float]:
    """Seconds in the function itself, not in those that it calls: each thread's time, shared out by its samples."""
    of_thread: Counter[int] = Counter()
    for stack in sampled:
        of_thread[stack.thread] += stack.count
    total: dict[str, float] = {}
    for stack in sampled:
        name = FUNCTION.sub(r"\1 (\2)", stack.frames[-1]) if stack.frames else stack.thread_name
        share = stack.count / of_thread[stack.thread] * cpu.get(stack.thread, 0.0)
        total[name] = total.get(name, 0.0) + share
    return total


async def _profiled(server: Running, spec: ModelSpec, site: Site) -> tuple[dict[int, float], list[Stack]]:
    """CPU seconds a step by thread, while nobody looks; and what was seen then."""
    async with streaming(server.address, spec, rows=ROWS, connections=CONNECTIONS) as streams:
        await closed_loop(streams, WARM)
        before = cpu_by_thread(server.process.pid)
        load = await closed_loop(streams, site.seconds)
        after = cpu_by_thread(server.process.pid)
        raw = site.pictures / "profile.raw"
        await _record(server, streams, "raw", raw, site.seconds)
        await _record(server, streams, "flamegraph", site.pictures / "flame.svg", site.seconds)
    spent = {thread: (seconds - before.get(thread, 0.0)) / load.steps for thread, seconds in after.items()}
    return spent, stacks(raw.read_text().splitlines())


async def _record(server: Running, streams: Sequence[Frames], kind: str, file: Path, seconds: float) -> None:
    """py-spy beside the load. Raises RuntimeError with what it says if it cannot look."""
    whole = max(1, round(seconds))
    told = ["--pid", str(server.process.pid), "--duration", str(whole), "--rate", str(SAMPLES), "--threads"]
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("py-spy"),
        *("record", *told, "--format", kind, "--output", str(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    (said, _), _ = await asyncio.gather(process.communicate(), closed_loop(streams, whole + 1))
    if process.returncode:
        raise RuntimeError(f"py-spy cannot look into the server: {said.decode().strip()}")


def profile(site: Site) -> list[Figure]:
    with site.server() as server:
        cpu, sampled = site.load(_profiled(server, site.bare().spec, site))
    return figures(cpu, sampled)


def figures(cpu: dict[int, float], sampled: Sequence[Stack]) -> list[Figure]:
    """cpu: seconds a step, by thread."""
    whole = sum(cpu.values())
    threads, functions = by_thread(cpu, sampled), by_function(cpu, sampled)
    most = sorted(functions, key=functions.__getitem__, reverse=True)[:SHOWN]
    return [
        *(_figure(f"thread {name}", threads[name], whole) for name in sorted(threads, key=threads.__getitem__)[::-1]),
        *(_figure(name, functions[name], whole) for name in most),
    ]


def _figure(name: str, seconds: float, whole: float) -> Figure:
    return Figure(name, 1e6 * seconds, "µs/step", note=f"{seconds / whole:.1%}")
