"""The plain program beside which tokenstream is measured: what the public guides of its two libraries show, and no more.

- aiokafka: `async for record in consumer`, with a consumer group and offsets committed automatically.
- Ably, message per token with explicit start and stop: `publish` on a realtime channel for every token, its
  `responseId` in the headers, no publish awaited before the next.

`seq` is in the headers only for the judge. Settings come from the environment: BOOTSTRAP, TOPIC, GROUP, KEY or
KEY_FILE, ENDPOINT. With SECONDS it is measured instead: it awaits each publish before the next, for this many seconds from
its first record on, and prints what it published.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ably import AblyRealtime
from ably.types.message import Message
from aiokafka import AIOKafkaConsumer

READY = "ready"


def message_of(event: dict[str, Any]) -> Message:
    headers = {"responseId": event["responseId"], "seq": str(event["seq"])}
    return Message(name=event["event"], data=event.get("text"), extras={"headers": headers})


async def relay(consumer: AIOKafkaConsumer, ably: AblyRealtime) -> None:
    publishing: set[asyncio.Task[object]] = set()
    async for record in consumer:
        event = json.loads(record.value)
        channel = ably.channels.get(record.key.decode())
        task = asyncio.create_task(channel.publish(message_of(event)))
        publishing.add(task)
        task.add_done_callback(publishing.discard)


async def measured(consumer: AIOKafkaConsumer, ably: AblyRealtime, seconds: float) -> dict[str, float]:
    """Returns how many tokens it published, in how many seconds, and the processor time of this process."""
    tokens, began, ended = 0, 0.0, 0.0
    try:
        async with asyncio.timeout(None) as limit:
            async for record in consumer:
                if not began:
                    began = time.monotonic()
                    limit.reschedule(asyncio.get_running_loop().time() + seconds)
                event = json.loads(record.value)
                await ably.channels.get(record.key.decode()).publish(message_of(event))
                tokens += event["event"] == "token"
                ended = time.monotonic()
    except TimeoutError:
        pass
    return {"tokens": tokens, "seconds": ended - began, "cpu": sum(os.times()[:2])}


async def main(environment: Mapping[str, str], key: str) -> None:
    ably = AblyRealtime(key=key, endpoint=environment["ENDPOINT"], tls=False)
    consumer = AIOKafkaConsumer(
        environment["TOPIC"],
        bootstrap_servers=environment["BOOTSTRAP"],
        group_id=environment["GROUP"],
        auto_offset_reset="earliest",
    )
    await consumer.start()
    print(READY, flush=True)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        if seconds := environment.get("SECONDS"):
            print(json.dumps(await measured(consumer, ably, float(seconds))), flush=True)
        else:
            await relay(consumer, ably)
    except asyncio.CancelledError:
        pass
    finally:
        await consumer.stop()
        await ably.close()


if __name__ == "__main__":
    asyncio.run(main(os.environ, os.environ.get("KEY") or Path(os.environ["KEY_FILE"]).read_text().strip()))
