"""Measures a relay's memory when each of its bounds is reached: open responses, ended ones, huge records."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from aiokafka import AIOKafkaProducer

from devtools.bench.backlog import MIB
from devtools.bench.results import Result, Unsound
from devtools.bench.run import UNPACED, sampled
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess
from devtools.usage import sample
from topics.codec import encode_token_event
from topics.records import Event

OPEN_BOUND = 2_000
BUFFERED = 16 * MIB
TRANSCRIPT = 32 * MIB
ENDED_BOUND = 1_000_000
SETTINGS = {
    **UNPACED,
    "MAX_OPEN_RESPONSES": str(OPEN_BOUND),
    "MAX_ENDED_RESPONSES": str(ENDED_BOUND),
    "MAX_BUFFERED_BYTES": str(BUFFERED),
    "MAX_TRANSCRIPT_BYTES": str(TRANSCRIPT),
}
BOUND = 150 * MIB + 60 * MIB + 2 * BUFFERED + 2 * TRANSCRIPT + 4_000 * OPEN_BOUND + 16 * ENDED_BOUND
"""Bytes: the sum that docs/operations/scaling.md states, with these settings."""
HUGE = 256
HUGE_TEXT = "x" * 512 * 1024
WITHIN = 300.0
POLL = 0.25
SETTLED = 2.0

Record = tuple[str, bytes]
"""(key, value)"""


async def run_memory(kafka: LocalKafka, directory: Path, responses: int) -> Result:
    """`responses` are left open, and as many end. Raises Unsound where the stated bound is passed."""
    result = Result(scenario="memory", title="Memory at its bounds", load=_described(responses), seed=1)
    names = names_after("memory")
    async with on_broker(kafka, directory, names, partitions=12, settings=SETTINGS) as stage:
        relay = stage.new()
        await relay.start()
        await relay.ready()
        result.add("memory, idle", _rss(relay) / MIB, "MiB")
        async with sampled(stage) as sampler:
            for name, records in (
                ("open responses", opened(responses)),
                ("ended responses", ended(responses)),
                ("huge records", huge()),
            ):
                await _relay(stage, relay, list(records))
                result.add(f"memory after {name}", _rss(relay) / MIB, "MiB")
                if name == "open responses":
                    metrics = await relay.metrics()
                    result.add("open at the end", metrics.get("tokenstream_open_responses", 0.0))
        largest = max(each.rss for each in sampler.samples[relay.name])
    result.add("largest memory", largest / MIB, "MiB")
    result.add("stated bound", BOUND / MIB, "MiB")
    if largest > BOUND:
        raise Unsound(f"The relay took {largest / MIB:.0f} MiB; with its settings {BOUND / MIB:.0f} MiB are stated.")
    return result


def _described(responses: int) -> str:
    return (
        f"{responses:,} starts on channels of their own, {responses:,} responses of one token, and {HUGE} tokens of 512 KiB; "
        f"at most {OPEN_BOUND:,} open"
    )


def opened(responses: int) -> Iterator[Record]:
    for number in range(responses):
        yield _start(f"open-{number}", f"open:{number}")


def ended(responses: int) -> Iterator[Record]:
    for number in range(responses):
        channel = f"ended:{number % 1_000}"
        yield _start(f"ended-{number}", channel)
        yield channel, encode_token_event(Event.TOKEN, f"ended-{number}", 1, text="x")
        yield channel, encode_token_event(Event.STOP, f"ended-{number}", 2)


def huge() -> Iterator[Record]:
    for number in range(HUGE):
        response_id, channel = f"huge-{number % 64}", f"huge:{number % 64}"
        if number < 64:
            yield _start(response_id, channel)
        yield channel, encode_token_event(Event.TOKEN, response_id, 1 + number // 64, text=HUGE_TEXT)


def _start(response_id: str, channel: str) -> Record:
    return channel, encode_token_event(Event.START, response_id, 0, channel=channel)


async def _relay(stage: LocalDeployment, relay: TokenstreamProcess, records: list[Record]) -> None:
    """Write the records, and wait until all of them are read and what may be published is."""
    before = (await relay.metrics()).get("tokenstream_records_consumed_total", 0.0)
    async with AIOKafkaProducer(
        bootstrap_servers=stage.kafka.bootstrap, linger_ms=20, max_request_size=MIB
    ) as producer:
        for number, (key, value) in enumerate(records):
            await producer.send(stage.names.tokens, value, key=key.encode())
            if number % 1_000 == 0:
                await asyncio.sleep(0)
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        relay.check()
        metrics = await relay.metrics()
        read = metrics.get("tokenstream_records_consumed_total", 0.0) - before
        if read >= len(records) and metrics.get("tokenstream_buffered_bytes") == 0:
            await asyncio.sleep(SETTLED)
            return
        await asyncio.sleep(POLL)
    raise Unsound(f"{len(records)} records were not relayed in {WITHIN:g} s.")


def _rss(relay: TokenstreamProcess) -> int:
    taken = sample(relay.pid)
    if taken is None:
        raise Unsound("Memory can't be read: this needs Linux's /proc.")
    return taken.rss
