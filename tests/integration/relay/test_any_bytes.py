"""For any bytes in a record the relay continues, and what it cannot accept is a dead letter."""

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import TokenstreamProcess
from devtools.raw_batches import Entry, batch, sealed, send_raw
from support.lab import assert_faultless
from support.waiting import comes_to, eventually

pytestmark = pytest.mark.timeout(120)


def entry(kind: str, response_id: str, seq: int, headers: Any = (), **fields: Any) -> Entry:
    return b"k", json.dumps({"event": kind, "responseId": response_id, "seq": seq, **fields}).encode(), headers


def whole(response_id: str, text: str, headers: Any = ()) -> list[Entry]:
    return [
        entry("start", response_id, 0, channel="chat:1"),
        entry("token", response_id, 1, headers, text=text),
        entry("stop", response_id, 2),
    ]


async def letters(lab: Lab) -> list[tuple[str, int, bytes | None]]:
    """(reason, offset, value), once each is there."""
    found = []
    async for record in lab.read(lab.names.dead_letters):
        own = {name: value for name, value in record.headers if name.startswith("tokenstream-")}
        assert own["tokenstream-topic"].decode() == lab.names.tokens
        found.append((own["tokenstream-reason"].decode(), int(own["tokenstream-offset"]), record.value))
    return sorted(found, key=lambda letter: letter[1])


async def complete(lab: Lab, *response_ids: str) -> bool:
    records = await lab.records()
    assert {name: records.get(name, {}).get("status") for name in response_ids} == dict.fromkeys(
        response_ids, "complete"
    )
    return True


async def test_a_header_name_that_is_not_utf8_does_not_keep_its_record_from_readers(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=2)) as lab:
        relay = await lab.relay()
        async with lab.streaming(responses=2):
            entries = whole("odd", "text", [("zqzq", b"x")]) + whole("after", "more")
            spoilt = sealed(batch(entries).replace(b"zqzq", b"\xff\xfezq"))
            await send_raw(lab.bootstrap, lab.names.tokens, 0, spoilt, len(entries))
            await eventually(lambda: complete(lab, "odd", "after"), deadline=60, every=0.3)
        await lab.all_finished()
        assert relay.returncode is None
        assert_faultless(lab)


async def test_a_batch_that_decompresses_beyond_the_bound_is_one_dead_letter(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        relay = await lab.relay(MAX_BATCH_BYTES=str(1 << 20))
        send = (lab.bootstrap, lab.names.tokens, 0)
        await send_raw(*send, batch(whole("before", "a")), 3)
        bomb = batch([(b"k", bytes(30 << 20), ()), (b"k", b"{}", ())], codec=4)
        assert await send_raw(*send, bomb, 2) == 3
        await send_raw(*send, batch(whole("after", "b"), codec=4), 3)
        await eventually(lambda: complete(lab, "before", "after"), deadline=60, every=0.3)
        await comes_to([("too_large", 3, b"")], lambda: letters(lab))
        await comes_to(0, lambda: relay.metric("tokenstream_consumer_lag_records"))


async def test_a_record_of_nothing_is_a_dead_letter(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        await lab.relay()
        nothing = batch([(None, None, ()), (b"k", None, ()), (None, b"", [("n", None)])])
        await send_raw(lab.bootstrap, lab.names.tokens, 0, nothing, 3)
        await send_raw(lab.bootstrap, lab.names.tokens, 0, batch(whole("after", "b")), 3)
        await eventually(lambda: complete(lab, "after"), deadline=60, every=0.3)
        await comes_to([("not_json", 0, b""), ("not_json", 1, None), ("not_json", 2, b"")], lambda: letters(lab))


async def test_the_lag_is_nothing_at_rest_behind_transactions(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    """Markers and aborted records have offsets, and are never given to anyone."""
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        relay = await lab.relay()
        async with AIOKafkaProducer(
            bootstrap_servers=lab.bootstrap, transactional_id=f"{lab.names.tokens}-tokens"
        ) as producer:
            await transaction(producer, lab, "committed")
            await producer.commit_transaction()
            await eventually(lambda: at_rest(relay, 4), deadline=60, every=0.2)
            await transaction(producer, lab, "aborted")
            await producer.abort_transaction()
            await eventually(lambda: at_rest(relay, 8), deadline=60, every=0.2)
        await eventually(lambda: complete(lab, "committed"), deadline=60, every=0.3)


async def transaction(producer: AIOKafkaProducer, lab: Lab, response_id: str) -> None:
    await producer.begin_transaction()
    for key, value, _ in whole(response_id, "text"):
        await producer.send_and_wait(lab.names.tokens, value, key=key, partition=0)


async def at_rest(relay: TokenstreamProcess, end: int) -> bool:
    names = ("consumer_lag_records", "consumed_offset", "committed_offset")
    assert [await relay.metric(f"tokenstream_{name}") for name in names] == [0, end, end]
    return True
