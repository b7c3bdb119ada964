"""A process whose event loop hangs, twice: `python blocked_loop.py`."""

import asyncio
import sys
import time

from processor.telemetry.log import configure_logging
from processor.telemetry.loop_watch import LoopWatch
from processor.telemetry.metrics import Metrics

STALL = 0.5


def block_the_loop() -> None:
    secret_local = "what a variable holds"
    time.sleep(3 * STALL)  # the very thing no event loop should do
    del secret_local


async def main() -> None:
    configure_logging("info", "json", sys.stderr)
    metrics = Metrics()
    async with LoopWatch(metrics, stall=STALL).watching():
        for _ in range(2):
            await asyncio.sleep(0.3)
            block_the_loop()
        await asyncio.sleep(0.3)
    print(metrics.render("")[0].decode())


asyncio.run(main())
