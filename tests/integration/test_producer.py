"""What a model service's records look like in the log, on a real broker."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from devtools.kafka import LocalKafka
from support.token_log import Read, decoded
from support.waiting import eventually
from topics import TokenProducer
from topics.codec import MAX_TEXT_BYTES
from topics.producer import DeliveryError
from topics.specs import TopicNames


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
    assert [(record.text, record.unpaired) for record in records[1:3]] == [("a\ud83d", True), ("\ude00", True)]


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
