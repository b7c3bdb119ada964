"""Records in OpenAI's format through a real Kafka and relay, which is killed in mid-stream."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import laboratory
from devtools.produced import Produced
from support.openai_feed import DONE, USAGE, chat, delta, finish, text, tool, tools
from support.waiting import eventually

pytestmark = pytest.mark.timeout(240)
WORDS = [f"word{number} " for number in range(40)]


def chunks() -> Iterator[bytes]:
    values: list[dict[str, Any]] = [chat(delta({"role": "assistant", "content": ""}), model="m-large", created=7)]
    values += [chat(delta({"reasoning_content": "Hm"}))]
    values += [text(word) for word in WORDS]
    values += [tools(tool("{}", "weather", index=0, id="call_1")), finish("tool_calls"), chat(usage=USAGE)]
    yield from (b"data: " + json.dumps(value).encode() for value in values)
    yield DONE


async def test_chunks_reach_readers_once_though_the_relay_is_killed(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=2)) as lab:
        relay = await lab.relay(CHANNEL_TEMPLATE="chat:{key}", GAP_TIMEOUT="0.5")
        async with AIOKafkaProducer(bootstrap_servers=lab.bootstrap, acks="all", enable_idempotence=True) as producer:

            async def produce(number: int) -> None:
                response_id, key = f"r{number}", str(number % 3).encode()
                texts = {"text": "".join(WORDS), "reasoning": "Hm", "call_1": "{}"}
                lab.produced.append(Produced(response_id, f"chat:{key.decode()}", texts, len(WORDS) + 2))
                for value in chunks():
                    headers = [("response-id", response_id.encode())]
                    await producer.send_and_wait(lab.names.tokens, value, key=key, headers=headers)
                    await asyncio.sleep(0.02)

            producing = asyncio.gather(*(produce(number) for number in range(6)))
            await lab.progress(20)
            await relay.kill()
            await relay.start()
            await producing
        await lab.all_finished()
        assert not lab.verdict().wrong, lab.verdict()

        async def stored() -> dict[str, Any]:
            records = await lab.records()
            return records if all(record["finishedAt"] for record in records.values()) else {}

        for record in (await eventually(stored)).values():
            assert (record["status"], record["reason"], record["usage"]) == ("complete", "tool_calls", USAGE)
            assert record["metadata"] == {"model": "m-large", "created": 7}
            assert record["parts"][2]["info"] == {"name": "weather", "id": "call_1"}
