"""A relay in a process of its own that some records do harm to: `run_mortal.py <options as JSON>`.

Options: `notes`, a file that gets a line for each record that did harm. Settings come from the environment. What a token's text
asks for happens when it is decoded: `KILL` ends the process as the system does for want of memory, `HANG` stops its event loop,
`RAISE` raises in the decoder, and `SPOIL` raises where the record is taken in.
"""

import asyncio
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson

from processor.ably import LOGGERS
from processor.clock import Clock
from processor.config.loading import load_settings
from processor.config.settings import Settings
from processor.relay.relay import Relay
from processor.service.relay_role import connection_pool, realtime_provider, relay_options, worker_parts
from processor.telemetry.log import configure_logging
from processor.telemetry.metrics import Metrics
from topics.codec import Decoder, Invalid, TokenRecord
from topics.plain import PlainToken
from topics.records import Event


class MortalDecoder:
    def __init__(self, notes: Path) -> None:
        self.inside = Decoder(None)
        self._notes = notes
        plain = self.inside.plain

        def harmed(value: Any) -> PlainToken:
            self._suffer(value)
            taken: PlainToken = plain(value)
            return taken

        self.plain = harmed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)

    def decode(self, value: bytes | None) -> TokenRecord | Invalid:
        self._suffer(value or b"")
        record: TokenRecord | Invalid = self.inside.decode(value)
        if b"SPOIL" in (value or b"") and not isinstance(record, Invalid) and record.event == Event.TOKEN:
            self._note("SPOIL")
            return msgspec.structs.replace(record, text=7)
        return record

    def _suffer(self, value: bytes) -> None:
        if b"KILL" in value:
            self._note("KILL")
            os.kill(os.getpid(), signal.SIGKILL)
        if b"HANG" in value:
            self._note("HANG")
            time.sleep(3600)
        if b"RAISE" in value:
            raise ZeroDivisionError("as asked")
        if b"SPOIL" in value:
            raise ValueError("not plain")

    def _note(self, what: str) -> None:
        with self._notes.open("a") as notes:
            notes.write(f"{what}\n")


async def main(settings: Settings, notes: Path) -> None:
    metrics, clock, chance = Metrics(), Clock(), random.Random(1)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    provider = realtime_provider(settings, metrics, clock, chance)
    async with connection_pool(settings, provider, metrics, clock, chance) as pool, asyncio.TaskGroup() as tasks:
        parts = worker_parts(settings, provider.profile, pool, metrics, clock, chance, tasks)
        decoder: Any = MortalDecoder(notes)
        relay = Relay(relay_options(settings, provider.profile), replace(parts, decoder=decoder), tasks)
        running = tasks.create_task(relay.run())
        await stopped.wait()
        await relay.stop()
        await running


if __name__ == "__main__":
    loaded = load_settings(dict(os.environ), require_ably=True)
    configure_logging("info", "json", sys.stderr, quoting=LOGGERS)
    asyncio.run(main(loaded, Path(orjson.loads(sys.argv[1])["notes"])))
