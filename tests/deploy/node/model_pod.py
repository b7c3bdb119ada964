"""What the model container of a test's pod runs, from the product's own image: asks the test for work, answers, reports.

On SIGTERM it takes no more work, ends its answers, and leaves with code 0. What it reports is what Kafka acknowledged.
"""

import asyncio
import os
import signal

import aiohttp

from devtools.demo.model import Pace, SampleModel
from topics.producer import TokenProducer

AT_ONCE = 4


async def main() -> None:
    stopping = asyncio.Event()

    def asked() -> None:
        print("asked to stop", flush=True)
        stopping.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked)
    print("started", flush=True)
    rate = float(os.environ["TOKENS_PER_SECOND"])
    async with (
        aiohttp.ClientSession(os.environ["WORK_FROM"]) as test,
        TokenProducer(os.environ["TOKENSTREAM_KAFKA_BOOTSTRAP_SERVERS"]) as producer,
        asyncio.TaskGroup() as answering,
    ):
        for _ in range(AT_ONCE):
            answering.create_task(answer(test, producer, Pace(tokens_per_second=rate, thinking=0.2), stopping))
    print("ended", flush=True)


async def answer(test: aiohttp.ClientSession, producer: TokenProducer, pace: Pace, stopping: asyncio.Event) -> None:
    pod = os.environ["HOSTNAME"]
    while not stopping.is_set():
        async with test.post("/work", json={"pod": pod}) as given:
            work = await given.json()
        if work is None:
            await asyncio.sleep(0.2)
            continue
        produced = await SampleModel(producer, work["channel"], pace).answer(work["seed"])
        report = {
            "work": work["number"],
            "pod": pod,
            "responseId": produced.response_id,
            "tokens": produced.tokens,
            "texts": produced.texts,
        }
        async with test.post("/produced", json=report) as taken:
            taken.raise_for_status()


if __name__ == "__main__":
    asyncio.run(main())
