"""What a model service's records look like in the log, on a real broker."""

import asyncio
import math
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devtools.kafka import LocalKafka
from support.waiting import eventually
from topics import TokenProducer
from topics.codec import MAX_TEXT_BYTES, TokenRecord, decode_record
from topics.producer import DeliveryError, RecordTooLargeError
from topics.specs import TopicNames

Read = Callable[[str], Awaitable[list[ConsumerRecord]]]


@pytest.fixture
def read(kafka: LocalKafka) -> Read:
    """Everything the log of a topic holds, partition by partition."""

    async def read_all(topic: str) -> list[ConsumerRecord]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(20):
                partitions = [TopicPartition(topic, number) for number in await _partitions(consumer, topic)]
                consumer.assign(partitions)
                ends: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
                found: list[ConsumerRecord] = []
                while len(found) < sum(ends.values()):
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found += records
                return found
        finally:
            await consumer.stop()

    return read_all


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)
    found: set[int] = consumer.partitions_for_topic(topic)
    return found


async def small_topic(kafka: LocalKafka, topic: str, most: int = 4096) -> str:
    """One partition, and no batch above `most` bytes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": str(most)})])
    finally:
        await admin.close()
    return topic


async def lower_limit(kafka: LocalKafka, topic: str, size: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": size})])
    finally:
        await admin.close()


def decoded(records: list[ConsumerRecord]) -> list[TokenRecord]:
    found = [decode_record(record.value) for record in records]
    assert all(isinstance(record, TokenRecord) for record in found), found
    return [record for record in found if isinstance(record, TokenRecord)]


async def test_a_response_is_a_start_its_tokens_and_a_stop_on_one_partition(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens) as producer,
        producer.response(channel="chat:42", metadata={"model": "m"}) as response,
    ):
        for word in ("Hel", "lo", ""):
            await response.token(word)
        await response.token('{"a":', kind="tool_call", part="call_1", part_info={"name": "weather"})
    raw = await read(topic_names.tokens)
    records = decoded(raw)
    assert [record.event for record in records] == ["start", "token", "token", "token", "token", "stop"]
    assert [record.seq for record in records] == list(range(6))
    assert {record.response_id for record in records} == {response.response_id}
    assert {(record.key, record.partition) for record in raw} == {(b"chat:42", raw[0].partition)}
    assert (records[0].channel, records[0].metadata) == ("chat:42", {"model": "m"})
    assert [record.text for record in records[1:5]] == ["Hel", "lo", "", '{"a":']
    assert (records[4].kind, records[4].part, records[4].part_info) == ("tool_call", "call_1", {"name": "weather"})
    assert (records[5].reason, records[5].error) == ("stop", None)
    assert [record.ts for record in records] == [record.timestamp for record in raw]


async def test_responses_of_one_channel_share_a_partition_and_interleave_in_order(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    async def answer(producer: TokenProducer, name: str) -> None:
        async with producer.response(channel="chat:7", response_id=name) as response:
            for number in range(200):
                await response.token(f"{number} ")

    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens, compression="lz4") as producer,
        asyncio.TaskGroup() as group,
    ):
        for number in range(5):
            group.create_task(answer(producer, f"response-{number}"))
    raw = await read(topic_names.tokens)
    assert len({record.partition for record in raw}) == 1
    for number in range(5):
        mine = [record for record in decoded(raw) if record.response_id == f"response-{number}"]
        assert [record.seq for record in mine] == list(range(202))


async def test_tokens_of_several_tasks_keep_the_order_of_the_calls(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens, max_unacknowledged=2) as producer,
        producer.response(channel="c") as response,
        asyncio.TaskGroup() as group,
    ):
        for number in range(50):
            group.create_task(response.token(str(number)))
    texts = [record.text for record in decoded(await read(topic_names.tokens)) if record.event == "token"]
    assert texts == [str(number) for number in range(50)]


async def test_an_explicit_stop_is_the_only_one_and_ends_the_response(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens) as producer,
        producer.response(channel="c") as response,
    ):
        await response.token("x")
        await response.stop(reason="length", usage={"outputTokens": 1})
        with pytest.raises(RuntimeError, match="has ended"):
            await response.token("y")
    records = decoded(await read(topic_names.tokens))
    assert [record.event for record in records] == ["start", "token", "stop"]
    assert (records[2].reason, records[2].usage) == ("length", {"outputTokens": 1})


async def test_a_block_left_by_an_exception_stops_with_its_type_and_message(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    async def answer(producer: TokenProducer) -> None:
        async with producer.response(channel="c") as response:
            await response.token("x")
            raise ZeroDivisionError("the model fell over")

    async with TokenProducer(kafka.bootstrap, topic_names.tokens) as producer:
        with pytest.raises(ZeroDivisionError):
            await answer(producer)
    stop = decoded(await read(topic_names.tokens))[-1]
    assert (stop.event, stop.seq, stop.reason) == ("stop", 2, "error")
    assert stop.error == {"code": "ZeroDivisionError", "message": "the model fell over"}


async def test_a_cancelled_block_writes_its_stop_all_the_same(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    begun = asyncio.Event()

    async def answer(producer: TokenProducer) -> None:
        async with producer.response(channel="c") as response:
            await response.token("x")
            begun.set()
            await asyncio.Event().wait()

    async with TokenProducer(kafka.bootstrap, topic_names.tokens) as producer:
        task = asyncio.create_task(answer(producer))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    stop = decoded(await read(topic_names.tokens))[-1]
    assert (stop.event, stop.seq, stop.reason) == ("stop", 2, "cancelled")


async def test_a_second_cancellation_does_not_lose_the_stop(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    leaving = asyncio.Event()

    async def answer(producer: TokenProducer) -> None:
        async with producer.response(channel="c") as response:
            await response.token("x")
            leaving.set()
        raise AssertionError("the cancellation must reach the caller")

    async with TokenProducer(kafka.bootstrap, topic_names.tokens) as producer:
        task = asyncio.create_task(answer(producer))
        await leaving.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
    assert [record.event for record in decoded(await read(topic_names.tokens))] == ["start", "token", "stop"]


async def test_a_missing_topic_is_named_when_connecting(kafka: LocalKafka, topics_prefix: str) -> None:
    producer = TokenProducer(kafka.bootstrap, f"{topics_prefix}.none", request_timeout_ms=1000, deadline=10)
    with pytest.raises(DeliveryError, match=rf"topic {topics_prefix}\.none does not exist.*topics apply"):
        async with producer:
            pass


async def test_a_broker_that_is_not_there_is_named_when_connecting() -> None:
    producer = TokenProducer("127.0.0.1:1", "t", deadline=5)
    with pytest.raises(DeliveryError, match=r"can't connect to Kafka at 127\.0\.0\.1:1"):
        async with producer:
            pass


async def test_a_record_the_broker_refuses_raises_and_the_response_still_ends(
    kafka: LocalKafka, topics_prefix: str, read: Read
) -> None:
    async def answer(producer: TokenProducer) -> None:
        async with producer.response(channel="c", response_id="r-one") as response:
            await response.token("x" * 10_000)

    topic = await small_topic(kafka, f"{topics_prefix}.small")
    async with TokenProducer(kafka.bootstrap, topic) as producer:
        with pytest.raises(DeliveryError, match=r"record 1 of response r-one was not delivered .*max\.message\.bytes"):
            await answer(producer)
        async with producer.response(channel="c", response_id="r-two") as response:
            await response.token("fine")
    records = decoded(await read(topic))
    assert [(record.response_id, record.event, record.seq) for record in records] == [
        ("r-one", "start", 0),
        ("r-one", "stop", 1),
        ("r-two", "start", 0),
        ("r-two", "token", 1),
        ("r-two", "stop", 2),
    ]
    assert records[1].reason == "error"


async def test_a_token_too_large_for_the_topic_takes_no_number(
    kafka: LocalKafka, topics_prefix: str, read: Read
) -> None:
    topic = await small_topic(kafka, f"{topics_prefix}.small")
    async with TokenProducer(kafka.bootstrap, topic) as producer, producer.response(channel="c") as response:
        with pytest.raises(
            RecordTooLargeError, match=r"record 1 of .* max\.message\.bytes is 4096: write the text as several"
        ):
            await response.token("x" * 10_000)
        for _ in range(4):
            await response.token("x" * 2_500)
    records = decoded(await read(topic))
    assert [(record.event, record.seq) for record in records] == [
        ("start", 0),
        *(("token", n) for n in range(1, 5)),
        ("stop", 5),
    ]


async def test_an_error_too_long_for_the_topic_still_ends_the_response(
    kafka: LocalKafka, topics_prefix: str, read: Read
) -> None:
    topic = await small_topic(kafka, f"{topics_prefix}.small", 600)
    async with TokenProducer(kafka.bootstrap, topic) as producer:
        with pytest.raises(LookupError):
            async with producer.response(channel="c"):
                raise LookupError("x" * 1_000)
    stop = decoded(await read(topic))[-1]
    assert (stop.event, stop.seq, stop.reason, stop.error) == ("stop", 1, "error", None)


@pytest.mark.parametrize("compression", ["gzip", None])
async def test_a_compressed_record_is_judged_as_it_is_sent(
    kafka: LocalKafka, topics_prefix: str, read: Read, compression: str | None
) -> None:
    topic = await small_topic(kafka, f"{topics_prefix}.small")
    async with (
        TokenProducer(kafka.bootstrap, topic, compression=compression) as producer,
        producer.response(channel="c") as response,
    ):
        if compression is None:
            with pytest.raises(ValueError, match=r"max\.message\.bytes"):
                await response.token("x" * 10_000)
        else:
            await response.token("x" * 10_000)
    assert len(decoded(await read(topic))) == (2 if compression is None else 3)


async def test_batches_are_no_larger_than_the_topic_takes(kafka: LocalKafka, topics_prefix: str, read: Read) -> None:
    topic = await small_topic(kafka, f"{topics_prefix}.small")
    async with TokenProducer(kafka.bootstrap, topic) as producer, producer.response(channel="c") as response:
        await asyncio.gather(*(response.token("x" * 1_000) for _ in range(200)))
    assert [record.seq for record in decoded(await read(topic))] == list(range(202))


async def test_one_large_token_harms_no_other_response(
    kafka: LocalKafka, make_topics: Callable[..., Awaitable[TopicNames]], read: Read
) -> None:
    names = await make_topics(partitions=1)
    outcomes: dict[str, str] = {}

    async def answer(producer: TokenProducer, name: str, *, large: bool) -> None:
        try:
            async with producer.response(channel="chat:1", response_id=name) as response:
                for number in range(100):
                    await response.token("\x01" * MAX_TEXT_BYTES if large and number == 50 else f"t{number} ")
        except DeliveryError as error:
            outcomes[name] = str(error)

    async with TokenProducer(kafka.bootstrap, names.tokens) as producer, asyncio.TaskGroup() as tasks:
        tasks.create_task(answer(producer, "the one", large=True))
        for number in range(4):
            tasks.create_task(answer(producer, f"neighbour {number}", large=False))
    assert list(outcomes) == ["the one"]
    records = decoded(await read(names.tokens))
    for number in range(4):
        found = [record.seq for record in records if record.response_id == f"neighbour {number}"]
        assert found == list(range(102))
    assert [record.seq for record in records if record.response_id == "the one"] == list(range(52))


async def test_a_refused_batch_fails_only_the_record_at_fault(
    kafka: LocalKafka, make_topics: Callable[..., Awaitable[TopicNames]], read: Read
) -> None:
    """The topic's limit is lowered after the producer connected, so that the broker refuses what the producer takes."""
    names = await make_topics(partitions=1)
    failed: list[str] = []

    async def answer(producer: TokenProducer, name: str, *, large: bool) -> None:
        try:
            async with producer.response(channel="chat:1", response_id=name) as response:
                for number in range(300):
                    await response.token("x" * 20_000 if large and number in (100, 101) else f"t{number} ")
                    if number % 10 == 0:
                        await asyncio.sleep(0)
        except DeliveryError:
            failed.append(name)

    async with TokenProducer(kafka.bootstrap, names.tokens) as producer:
        await lower_limit(kafka, names.tokens, "8192")
        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(answer(producer, f"neighbour {number}", large=False))
            tasks.create_task(answer(producer, "the one", large=True))
    assert failed == ["the one"]
    records = decoded(await read(names.tokens))
    for number in range(4):
        found = [record.seq for record in records if record.response_id == f"neighbour {number}"]
        assert found == list(range(302))
    seqs = [record.seq or 0 for record in records if record.response_id == "the one"]
    assert seqs == sorted(set(seqs))
    assert seqs[:101] == list(range(101))
    assert not {101, 102} & set(seqs)
    assert records[-1].event == "stop"


async def test_a_caller_cancelled_at_any_moment_leaves_no_hole(
    kafka: LocalKafka, make_topics: Callable[..., Awaitable[TopicNames]], read: Read
) -> None:
    names = await make_topics(partitions=1)
    moments = random.Random(20)

    async def answer(producer: TokenProducer, name: str) -> None:
        async with producer.response(channel="chat:1", response_id=name) as response:
            for number in range(200):
                try:
                    await response.token(f"t{number} ")
                except asyncio.CancelledError:
                    if moments.random() < 0.5:
                        raise
            await response.stop()

    async with TokenProducer(kafka.bootstrap, names.tokens, max_unacknowledged=20) as producer:
        tasks = [asyncio.create_task(answer(producer, f"r-{number}")) for number in range(40)]
        while pending := [task for task in tasks if not task.done()]:
            moments.choice(pending).cancel()
            for _ in range(moments.randrange(40)):
                await asyncio.sleep(0)
        await asyncio.wait(tasks)
    by_response: dict[str, list[TokenRecord]] = {}
    for record in decoded(await read(names.tokens)):
        by_response.setdefault(record.response_id, []).append(record)
    assert by_response
    for found in by_response.values():
        assert [record.seq for record in found] == list(range(len(found)))
        assert [record.event for record in found] == ["start", *["token"] * (len(found) - 2), "stop"]


UNWRITABLE: list[dict[object, object]] = [
    {"price": Decimal("0.000744")},
    {1: 2},
    {"cost": math.nan},
    {"x": "y" * 20_000},
]


@pytest.mark.parametrize("caught", [True, False])
@pytest.mark.parametrize("usage", UNWRITABLE, ids=["Decimal", "integer key", "NaN", "large"])
async def test_a_usage_that_is_refused_leaves_the_answer_complete(
    kafka: LocalKafka, topic_names: TopicNames, read: Read, usage: dict[str, object], caught: bool
) -> None:
    async def answer(producer: TokenProducer) -> None:
        async with producer.response(channel="c") as response:
            await response.token("ok")
            try:
                await response.stop(reason="length", usage=usage)
            except ValueError as error:
                assert str(error).startswith("usage ")  # noqa: PT017 - also raised from the block
                if not caught:
                    raise

    async with TokenProducer(kafka.bootstrap, topic_names.tokens) as producer:
        if caught:
            await answer(producer)
        else:
            with pytest.raises(ValueError, match="usage "):
                await answer(producer)
    stop = decoded(await read(topic_names.tokens))[-1]
    assert (stop.event, stop.seq, stop.reason, stop.usage) == ("stop", 2, "length", None)


async def test_stop_may_be_called_again_after_a_refusal(kafka: LocalKafka, topic_names: TopicNames, read: Read) -> None:
    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens) as producer,
        producer.response(channel="c", metadata={"title": "half \ud83d", "trace": 2**128 - 1}) as response,
    ):
        with pytest.raises(ValueError, match="usage holds a value of type Decimal"):
            await response.stop(usage={"price": Decimal(1)})
        with pytest.raises(ValueError, match="part_info has a key of type int"):
            await response.token("x", kind="tool_call", part_info={1: 2})  # type: ignore[dict-item]
        await response.token("more")
        await response.stop(usage={"price": "1"})
    start, _, stop = decoded(await read(topic_names.tokens))
    assert start.metadata == {"title": "half \ufffd", "trace": 2.0**128}
    assert (stop.reason, stop.usage) == ("stop", {"price": "1"})


async def test_a_silent_broker_is_given_up_after_the_deadline_in_bounded_memory(
    bare_kafka: Callable[..., Awaitable[LocalKafka]], make_topics: Callable[..., Awaitable[TopicNames]]
) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    reached: list[int] = []

    async def answer(producer: TokenProducer) -> None:
        async with producer.response(channel="c") as response:
            broker.pause()
            while True:
                await response.token("x")
                reached.append(producer.unacknowledged)

    async def run() -> None:
        async with TokenProducer(broker.bootstrap, names.tokens, max_unacknowledged=100, deadline=1) as producer:
            await answer(producer)

    task = asyncio.create_task(run())
    await eventually(lambda: (reached and reached[-1] == 100) or task.done())
    for _ in range(100):  # turns of the loop in which an unbounded producer would go on
        await asyncio.sleep(0)
    assert max(reached) == 100
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    broker.resume()
    assert task.cancelled()


async def test_bytes_bound_what_is_unacknowledged_too(kafka: LocalKafka, topic_names: TopicNames) -> None:
    most = 0
    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens, max_unacknowledged_bytes=50_000) as producer,
        producer.response(channel="c") as response,
    ):
        for _ in range(50):
            await response.token("x" * 10_000)
            most = max(most, producer.unacknowledged)
        await response.token("y" * 60_000)  # above the bound alone: taken when nothing else is on its way
    assert 1 < most <= 5


async def test_half_a_surrogate_pair_travels_to_the_log(kafka: LocalKafka, topic_names: TopicNames, read: Read) -> None:
    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens) as producer,
        producer.response(channel="c") as response,
    ):
        await response.token("a\ud83d")
        await response.token("\ude00")
    records = decoded(await read(topic_names.tokens))
    assert [(record.text, record.torn) for record in records[1:3]] == [("a\ud83d", True), ("\ude00", True)]


async def test_what_a_record_may_not_hold_is_refused_by_name_and_takes_no_number(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    async with TokenProducer(kafka.bootstrap, topic_names.tokens) as producer:
        for channel in ("", "[x", ":x", "a\nb"):
            with pytest.raises(ValueError, match="channel"):
                producer.response(channel=channel)
        with pytest.raises(ValueError, match="responseId"):
            producer.response(channel="c", response_id=".")
        async with producer.response(channel="c") as response:
            with pytest.raises(ValueError, match="256 KiB"):
                await response.token("x" * (MAX_TEXT_BYTES + 1))
            with pytest.raises(ValueError, match="256 KiB"):
                await response.token("é" * (MAX_TEXT_BYTES // 2 + 1))
            with pytest.raises(TypeError, match="text must be a string"):
                await response.token(b"x")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="kind must match"):
                await response.token("x", kind="Tool Call")
            with pytest.raises(ValueError, match="1 to 64 characters"):
                await response.token("x", part="p" * 65)
            with pytest.raises(ValueError, match="name another part"):
                await response.token("x", kind="tool_call", part="text")
            with pytest.raises(ValueError, match="part_info is over"):
                await response.token("x", part_info={"x": "y" * 20_000})
            with pytest.raises(ValueError, match="reason must be one of"):
                await response.stop(reason="bored")
            await response.token("x" * MAX_TEXT_BYTES)
    assert [record.seq for record in decoded(await read(topic_names.tokens))] == [0, 1, 2]


async def test_a_generated_id_is_a_uuid(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with TokenProducer(kafka.bootstrap, topic_names.tokens) as producer:
        ids = {producer.response(channel="c").response_id for _ in range(10)}
    assert len({uuid.UUID(found).version for found in ids}) == 1
    assert len(ids) == 10


async def test_the_topic_may_be_read_with_nothing_but_json(
    kafka: LocalKafka, topic_names: TopicNames, read: Read
) -> None:
    async with (
        TokenProducer(kafka.bootstrap, topic_names.tokens) as producer,
        producer.response(channel="c", response_id="r"),
    ):
        pass
    start, stop = (msgspec.json.decode(record.value) for record in await read(topic_names.tokens))
    assert {**start, "ts": 0} == {"v": 1, "event": "start", "responseId": "r", "seq": 0, "channel": "c", "ts": 0}
    assert {**stop, "ts": 0} == {"v": 1, "event": "stop", "responseId": "r", "seq": 1, "reason": "stop", "ts": 0}
