"""What model services may do wrong, and what it gets: dead letters with the reason, and everybody else goes on."""

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from support.waiting import eventually

pytestmark = pytest.mark.timeout(120)


def event(kind: str, response_id: str, seq: int | None, **fields: Any) -> bytes:
    value = {"event": kind, "responseId": response_id, **fields}
    if seq is not None:
        value["seq"] = seq
    return json.dumps(value).encode()


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"x": value}
    return value


BAD: list[tuple[str, bytes | None, bytes | None]] = [
    ("not_json", b"k", b"{"),
    ("not_json", b"k", None),
    ("not_json", b"k", b'{"event":"token","responseId":"x","text":"\xff"}'),
    ("invalid", b"k", b"[1]"),
    ("invalid", b"k", event("nonsense", "x", 1)),
    ("version", b"k", b'{"v":2,"event":"later","whatever":1}'),
    ("no_key", None, event("start", "nokey", 0, channel="chat:1")),
    ("invalid", b"k", event("token", "x", -1, text="a")),
    ("invalid", b"k", event("start", "x", 0)),
    ("channel_forbidden", b"k", event("start", "x", 0, channel="secret:1")),
    ("too_large", b"k", event("token", "x", 1, text="a" * 262_145)),
    ("too_large", b"k", event("start", "x", 0, channel="chat:1", metadata=deep(40))),
    ("too_large", b"k", event("start", "x", 0, channel="chat:1", metadata={"a": "b" * 17_000})),
    ("no_start", b"k", event("token", "never-started", 5, text="a")),
    ("no_start", b"k", event("token", "never-started-2", None, text="a")),
]


async def letters(lab: Lab) -> list[tuple[str, bytes | None, bytes | None]]:
    found: list[tuple[str, bytes | None, bytes | None]] = []
    async for record in lab.read(lab.names.dead_letters):
        headers = dict(record.headers)
        assert headers["tokenstream-topic"].decode() == lab.names.tokens
        assert int(headers["tokenstream-offset"]) >= 0
        found.append((headers["tokenstream-reason"].decode(), record.key, record.value))
    return found


async def test_bad_records_become_dead_letters_unchanged_and_stop_nothing(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        await lab.relay(CHANNEL_PATTERN="chat:.*", GAP_TIMEOUT="0.5")
        producer = AIOKafkaProducer(bootstrap_servers=lab.bootstrap)
        await producer.start()
        good = [
            event("start", "good", 0, channel="chat:1"),
            event("token", "good", 1, text="whole \ud83d"),
            event("token", "good", 2, text="\ude00!"),
            event("stop", "good", 3),
        ]
        sent = list(BAD)
        for number, (_, key, value) in enumerate(BAD):
            await producer.send_and_wait(lab.names.tokens, value=value, key=key)
            if number % 4 == 0 and good:
                await producer.send_and_wait(lab.names.tokens, value=good.pop(0), key=b"k")
        for reason, value in (
            ("late", event("token", "good", 9, text="after the end")),
            ("response_id_reused", event("start", "good", 0, channel="chat:2")),
        ):
            sent.append((reason, b"k", value))
            await producer.send_and_wait(lab.names.tokens, value=value, key=b"k")
        await producer.stop()

        async def all_there() -> bool:
            assert sorted(map(repr, await letters(lab))) == sorted(map(repr, sent))
            return True

        await eventually(all_there, deadline=60, every=0.3)
        record = (await lab.records())["good"]
        assert record["parts"][0]["text"] == "whole \U0001f600!"
        assert record["status"] == "complete"


async def test_lost_tokens_are_announced_and_a_silent_response_is_abandoned(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        await lab.relay(GAP_TIMEOUT="0.5", IDLE_TIMEOUT="2")
        producer = AIOKafkaProducer(bootstrap_servers=lab.bootstrap)
        await producer.start()
        for value in (
            event("start", "r", 0, channel="chat:1"),
            event("token", "r", 1, text="a"),
            event("token", "r", 4, text="d"),
        ):
            await producer.send_and_wait(lab.names.tokens, value=value, key=b"k")
        await eventually(lambda: lab.finished() == 1, deadline=60)
        late = event("token", "r", 2, text="b")
        await producer.send_and_wait(lab.names.tokens, value=late, key=b"k")
        await producer.stop()
        frames = [(message.name, message.data) for message in lab.realtime.log["chat:1"]]
        assert [name for name, _ in frames] == ["start", "token", "gap", "token", "stop"]
        assert json.loads(frames[2][1]) == {"from": 2, "to": 3}
        stop = json.loads(frames[-1][1])
        assert (stop["reason"], stop["status"], stop["error"]["code"]) == ("abandoned", "abandoned", "abandoned")
        record = await eventually(lambda: final(lab), deadline=60)
        assert (record["status"], record["gaps"], record["seq"]) == ("abandoned", [[2, 3]], 5)

        async def dead_lettered() -> bool:
            return await letters(lab) == [("late", b"k", late)]

        await eventually(dead_lettered, deadline=60, every=0.3)


async def final(lab: Lab) -> dict[str, Any] | None:
    record = (await lab.records()).get("r")
    return record if record and record["status"] != "streaming" else None
