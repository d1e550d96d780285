"""The echo with one poller of gRPC, and uvloop: `python -m headrace.bench.tuned_echo WIDTH`."""

from __future__ import annotations

import asyncio
import sys

from headrace.server.process import new_event_loop, prepare


def main(width: int) -> None:
    prepare()
    from .echo import serve  # it imports grpc

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(width))


if __name__ == "__main__":
    main(int(sys.argv[1]))
