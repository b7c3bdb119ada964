"""A process whose event loop runs Python code without a pause, under a watch: `python busy_loop.py`. Ends on SIGTERM."""

import asyncio
import signal
import sys

from processor.telemetry.log import configure_logging
from processor.telemetry.loop_watch import LoopWatch
from processor.telemetry.metrics import Metrics

STALL = 0.05


def nest(depth: int) -> int:
    return sum(nest(depth - 1) for _ in range(1)) + len(str(depth)) if depth else 1


async def main() -> None:
    configure_logging("critical", "json", sys.stderr)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("started", flush=True)
    async with LoopWatch(Metrics(), stall=STALL).watching():
        while not ended.is_set():
            nest(60)
            await asyncio.sleep(0)


asyncio.run(main())
