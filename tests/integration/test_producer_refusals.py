"""What becomes of records that a broker refuses, and of a producer that is cancelled, on a real broker."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from devtools.kafka import LocalKafka
from support.token_log import Read, decoded, limit_topic, small_topic
from topics import TokenProducer
from topics.codec import MAX_TEXT_BYTES, TokenRecord
from topics.producer import DeliveryError, RecordTooLargeError
from topics.specs import TopicNames


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
        await limit_topic(kafka.bootstrap, names.tokens, 8192)
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
