"""A process stuck inside one call that never releases the interpreter's lock: `python held_lock.py`. Has to be killed."""

import asyncio
import re
import sys

from processor.telemetry.log import configure_logging
from processor.telemetry.loop_watch import LoopWatch
from processor.telemetry.metrics import Metrics


def hold_the_lock() -> None:
    re.match(r"(a+)+$", "a" * 60 + "!")  # takes twice as long for each further letter


async def main() -> None:
    configure_logging("info", "json", sys.stderr)
    async with LoopWatch(Metrics(), stall=0.5).watching():
        await asyncio.sleep(0.3)
        hold_the_lock()


asyncio.run(main())
