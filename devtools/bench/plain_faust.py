"""A plain program for comparison, as in public examples: a Faust agent that publishes each token to its channel.

It is a typical first version: one awaited `publish` per token. Nothing is checked, retried or stored. Run as `python
-m devtools.bench.plain_faust BOOTSTRAP TOPIC GROUP ENDPOINT KEY SECONDS`, it prints what it published.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

import faust
from ably import AblyRealtime

bootstrap, topic_name, group, endpoint, key, seconds = sys.argv[1:]

app = faust.App(
    group,
    broker=f"kafka://{bootstrap}",
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
)
tokens = app.topic(topic_name, value_serializer="json")
ably: AblyRealtime
channels: dict[str, str] = {}


class Count:
    published = 0
    began = 0.0
    ended = 0.0


@app.agent(tokens)
async def publish(events: Any) -> None:
    async for event in events:
        Count.began = Count.began or time.monotonic()
        response_id = event["responseId"]
        if event["event"] == "start":
            channels[response_id] = event["channel"]
            await ably.channels.get(event["channel"]).publish("start", {"responseId": response_id})
        elif event["event"] == "token":
            await ably.channels.get(channels[response_id]).publish("token", event["text"])
            Count.published += 1
            Count.ended = time.monotonic()
        else:
            await ably.channels.get(channels.pop(response_id)).publish("stop", {"responseId": response_id})


async def main() -> None:
    global ably  # noqa: PLW0603 - as examples do; the client wants a running loop
    ably = AblyRealtime(key=key, endpoint=endpoint, tls=False)
    await app.start()
    while not Count.began:
        await asyncio.sleep(0.01)
    await asyncio.sleep(float(seconds))
    cpu = sum(os.times()[:2])
    seconds_taken = Count.ended - Count.began
    print(json.dumps({"tokens": Count.published, "seconds": seconds_taken, "cpu": cpu}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
