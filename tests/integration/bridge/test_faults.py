"""The bridge while things fail: the model server, Kafka, the caller, the process itself."""

import asyncio
import contextlib
import socket
import time

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeKafka, MakeTopics
from devtools.kafka import LocalKafka
from support.bridge_world import World, bridge_world, text_of
from support.waiting import eventually
from topics.controls import ControlEvent, ControlRecord, encode_control
from topics.specs import TopicNames


async def nothing_written(world: World, response_id: str = "r-1") -> None:
    assert await world.records(response_id) == []


async def read_until_it_breaks(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    received = b""
    try:
        async for piece in answer.content.iter_any():
            received += piece
    except aiohttp.ClientPayloadError:
        return received, True
    return received, False


WITH_ID = {"x-tokenstream-response-id": "r-1"}

# The model server


async def test_a_refusal_passes_through(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        for more in ({}, {"x-tokenstream-mode": "detach"}):
            async with world.ask("refuses", headers=WITH_ID | more) as answer:
                found = await answer.json()
            assert (answer.status, answer.headers["retry-after"]) == (429, "7")
            assert found == {"error": {"message": "too many", "code": "rate_limited"}}
        await nothing_written(world)
        assert world.metric("bridge_upstream_failures_total", cause="refused") == 2


async def test_an_unreachable_model_server_is_a_502(kafka: LocalKafka, topic_names: TopicNames) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with bridge_world(kafka, topic_names.tokens, upstream=nobody) as world:
            async with world.ask(headers=WITH_ID) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (502, "upstream_error")
            async with world.client.get(f"{world.url}/models") as answer:
                assert answer.status == 502
            await nothing_written(world)


@pytest.mark.parametrize("script", ["whole", "empty"])
async def test_an_answer_without_a_stream_is_a_502(kafka: LocalKafka, topic_names: TopicNames, script: str) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask(script, stream=True, headers=WITH_ID) as answer:
            assert answer.status == 502
        await nothing_written(world)


async def test_comments_after_done_keep_no_caller_waiting(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world, asyncio.timeout(30):
        async with world.ask("lingers", text="a b", headers=WITH_ID) as answer:
            assert answer.status == 200
        assert text_of(await world.ended("r-1")).split() == ["a", "b"]
        await eventually(lambda: world.metric("bridge_streams") == 0 and world.model.generating == 0, deadline=20)


async def test_a_model_server_that_dies_leaves_what_came(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask("dies", stream=True, headers=WITH_ID) as answer:
            received, broke_off = await read_until_it_breaks(answer)
        assert (received, broke_off) == (bytes(world.model.asked[0].sent), True)
        records = await world.ended("r-1")
        assert text_of(records) == "one two three "
        assert records[-1].reason == "error"
        assert records[-1].error is not None
        assert records[-1].error["code"] == "upstream_error"
        assert world.metric("bridge_upstream_failures_total", cause="broken") == 1


async def test_an_answer_that_is_cut_off_is_incomplete(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask("cut", stream=True, headers=WITH_ID) as answer:
            assert await answer.read() == bytes(world.model.asked[0].sent)
        records = await world.ended("r-1")
        assert (text_of(records), records[-1].error and records[-1].error["code"]) == ("one two three ", "incomplete")


async def test_an_error_in_mid_stream_keeps_its_code(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask("error", stream=True, headers=WITH_ID) as answer:
            assert (answer.status, await answer.read()) == (200, bytes(world.model.asked[0].sent))
        records = await world.ended("r-1")
        assert (text_of(records), records[-1].error) == (
            "one two three ",
            {"code": "500", "message": "out of memory"},
        )
        assert world.metric("bridge_upstream_failures_total", cause="error") == 1


@pytest.mark.parametrize(("script", "code"), [("dies", "upstream_error"), ("cut", "incomplete"), ("error", "500")])
async def test_a_failure_is_a_502_for_who_wants_no_stream(
    kafka: LocalKafka, topic_names: TopicNames, script: str, code: str
) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask(script, headers=WITH_ID) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (502, code)
            assert (answer.headers["x-should-retry"], answer.headers["x-tokenstream-response-id"]) == ("false", "r-1")
        assert (await world.ended("r-1"))[-1].reason == "error"


@pytest.mark.parametrize("script", ["no-usage", "bare"])
async def test_usage_may_be_missing(kafka: LocalKafka, topic_names: TopicNames, script: str) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask(script, headers=WITH_ID) as answer:
            assert "usage" not in await answer.json()
        records = await world.ended("r-1")
        assert (records[-1].reason, records[-1].usage) == ("stop", None)


async def test_a_silent_model_server_is_given_up(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens, idle_seconds=0.5) as world:
        async with world.ask("silent", stream=True, headers=WITH_ID) as answer:
            assert answer.status == 502
        await nothing_written(world)
        async with world.ask("silent", headers={"x-tokenstream-mode": "detach", **WITH_ID}) as answer:
            assert answer.status == 202
        records = await world.ended("r-1")
        assert [record.event for record in records] == ["start", "stop"]
        assert records[-1].error is not None
        assert records[-1].error["code"] == "upstream_error"
        assert world.metric("bridge_upstream_failures_total", cause="timeout") == 2


# Bounds


async def test_streams_are_bounded(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens, max_streams=2) as world:
        detach = {"x-tokenstream-mode": "detach"}
        for _ in range(2):
            async with world.ask("gated", headers=detach) as answer:
                assert answer.status == 202
        async with world.ask("words") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert len(world.model.asked) == 2
        for _ in range(8):
            world.model.release.release()
        await eventually(lambda: world.metric("bridge_streams") == 0)
        async with world.ask("words") as answer:
            assert answer.status == 200


# A cancel


async def cancel(producer: AIOKafkaProducer, topic: str, response_id: str) -> None:
    """Writes to the first partition, so that controls are read in the order in which they are written."""
    record = ControlRecord(ControlEvent.CANCEL, response_id, "chat:1", time.time_ns() // 1_000_000)
    await producer.send_and_wait(topic, encode_control(record), key=response_id.encode(), partition=0)


async def controls_are_read(world: World, producer: AIOKafkaProducer, topic: str) -> None:
    """Waits until the bridge obeys a cancel that is written now: it has read those before it."""
    headers = {"x-tokenstream-response-id": "r-0", "x-tokenstream-mode": "detach"}
    async with world.ask("gated", headers=headers) as answer:
        assert answer.status == 202
    await cancel(producer, topic, "r-0")
    await world.ended("r-0")


async def test_a_cancelled_response_closes_the_model_server(kafka: LocalKafka, topic_names: TopicNames) -> None:
    """A producer that obeys a cancel cancels the task that is in the response's block."""
    async with bridge_world(kafka, topic_names.tokens) as world:
        answer = await world.ask("gated", stream=True, headers=WITH_ID)
        await answer.content.readany()
        (task,) = world.bridge._tasks
        task.cancel()
        await eventually(lambda: world.model.asked[0].closed)
        assert not world.model.asked[0].finished
        records = await world.ended("r-1")
        assert records[-1].reason == "cancelled"
        answer.close()


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_cancel_in_the_controls_topic_reaches_the_model_server(
    kafka: LocalKafka, topic_names: TopicNames, streamed: bool
) -> None:
    async with bridge_world(kafka, topic_names.tokens, controls=topic_names.controls) as world:
        asking = asyncio.create_task(world.ask("gated", stream=streamed, headers=WITH_ID).__aenter__())
        await eventually(lambda: world.records("r-1"), deadline=30)
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            await cancel(producer, topic_names.controls, "r-1")
        records = await world.ended("r-1")
        assert (records[-1].reason, records[-1].error) == ("cancelled", None)
        await eventually(lambda: world.model.asked[0].closed)
        assert not world.model.asked[0].finished
        answer = await asking
        assert answer.status == (200 if streamed else 409)
        assert await answer.read()
        answer.close()


@pytest.mark.parametrize("mode", ["stream", "whole", "detach"])
@pytest.mark.parametrize("before", [False, True])
async def test_a_cancel_before_the_first_token_reaches_the_model_server(
    kafka: LocalKafka, topic_names: TopicNames, mode: str, before: bool
) -> None:
    """Readers get a start and a stop. A response that was cancelled before its request does not reach the model server."""
    headers = WITH_ID | ({"x-tokenstream-mode": "detach"} if mode == "detach" else {})
    async with bridge_world(kafka, topic_names.tokens, controls=topic_names.controls) as world:
        await eventually(lambda: world.link.controls_trouble() is None, deadline=30)
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            if before:
                await cancel(producer, topic_names.controls, "r-1")
                await controls_are_read(world, producer, topic_names.controls)
            asked = len(world.model.asked)
            asking = asyncio.create_task(world.ask("silent", stream=mode == "stream", headers=headers).__aenter__())
            if not before:
                await eventually(lambda: world.model.generating == 1)
                await cancel(producer, topic_names.controls, "r-1")
        answer = await asking
        records = await world.ended("r-1")
        assert [(each.event, each.reason) for each in records] == [("start", None), ("stop", "cancelled")]
        await eventually(lambda: not world.model.generating)
        assert len(world.model.asked) - asked == (0 if before else 1)
        assert answer.status == (202 if mode == "detach" and not before else 409)
        assert answer.headers["x-tokenstream-response-id"] == "r-1"
        answer.close()


# Kafka


async def test_without_kafka_the_model_is_not_asked(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    broker = await bare_kafka()
    names = await make_topics(partitions=1, bootstrap=broker.bootstrap)
    async with bridge_world(broker, names.tokens) as world:
        async with world.ask() as answer:
            assert answer.status == 200
        broker.pause()
        async with world.ask() as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
            assert (await answer.json())["error"]["code"] == "kafka_unavailable"
        assert len(world.model.asked) == 1
        assert await world.link.trouble() is not None
        broker.resume()
        await eventually(lambda: _works(world), deadline=30)
        async with world.ask() as answer:
            assert answer.status == 200


async def test_a_bridge_starts_before_kafka(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    broker = await bare_kafka()
    names = await make_topics(partitions=1, bootstrap=broker.bootstrap)
    broker.kill()
    async with bridge_world(broker, names.tokens, connected=False) as world:
        async with world.ask() as answer:
            assert answer.status == 503
        assert world.model.asked == []
        await broker.start()
        await eventually(lambda: _works(world), deadline=60)
        async with world.ask() as answer:
            assert answer.status == 200


async def test_a_stream_goes_on_for_its_caller_without_kafka(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    broker = await bare_kafka()
    names = await make_topics(partitions=1, bootstrap=broker.bootstrap)
    async with bridge_world(broker, names.tokens) as world:
        async with world.ask("gated", stream=True, headers=WITH_ID) as answer:
            received = await answer.content.readany()
            broker.kill()
            for _ in range(4):
                world.model.release.release()
            async with asyncio.timeout(8):
                received += await answer.read()
        assert received == bytes(world.model.asked[0].sent)
        await eventually(lambda: world.metric("bridge_responses_lost_total") == 1, deadline=30)
        await broker.start()
        assert text_of(await world.ended("r-1")) == "one two three four five "


async def _works(world: World) -> bool:
    return await world.link.trouble() is None


# The end of the process


async def test_running_streams_end_before_the_bridge_stops(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask("gated", stream=True, headers=WITH_ID) as answer:
            await answer.content.readany()
            draining = asyncio.create_task(world.bridge.drain())
            await asyncio.sleep(0)
            async with world.ask() as refused:
                assert refused.status == 503
                assert "Retry-After" in refused.headers
            for _ in range(4):
                world.model.release.release()
            await answer.read()
            await draining
        assert (await world.ended("r-1"))[-1].reason == "stop"


async def test_streams_that_do_not_end_in_time_are_stopped(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens, drain_seconds=0.1) as world:
        answers = [
            await world.ask("gated", stream=True, headers=WITH_ID),
            await world.ask("gated", headers={"x-tokenstream-response-id": "r-2", "x-tokenstream-mode": "detach"}),
        ]
        await answers[0].content.readany()
        silent = asyncio.create_task(world.ask("silent", headers={"x-tokenstream-response-id": "r-3"}).__aenter__())
        await eventually(lambda: world.model.generating == 3)
        await world.bridge.drain()
        for response_id in ("r-1", "r-2"):
            records = await world.ended(response_id)
            assert records[-1].reason == "error"
            assert records[-1].error is not None
            assert records[-1].error["code"] == "bridge_stopped"
        await eventually(lambda: world.model.generating == 0)
        assert (await silent).status == 503
        await nothing_written(world, "r-3")
        with contextlib.suppress(aiohttp.ClientError):
            await answers[0].read()
        for answer in answers:
            answer.close()
