"""The bridge in good times: what the caller gets, and what is in Kafka."""

import io
import json

import aiohttp
from yarl import URL

from devtools.kafka import LocalKafka
from devtools.model_server import USAGE
from devtools.topic_reader import read_topic
from processor.bridge.asking import Rules
from processor.config.values import ApiToken
from support.bridge_world import bridge_world, text_of
from support.waiting import eventually
from topics.openai_channel import ChannelTemplate
from topics.specs import TopicNames

TEXT = "one two three four five "


async def test_a_stream_passes_unchanged_and_is_in_kafka(kafka: LocalKafka, topic_names: TopicNames) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask(stream=True, headers={"traceparent": parent, "Authorization": "Bearer caller"}) as answer:
            received = await answer.read()
            response_id = answer.headers["x-tokenstream-response-id"]
        (asked,) = world.model.asked
        assert (answer.status, received) == (200, bytes(asked.sent))
        assert (answer.headers["Content-Type"], answer.headers["x-request-id"]) == (
            "text/event-stream; charset=utf-8",
            "req-1",
        )
        assert asked.body["stream_options"] == {"include_usage": True}
        assert asked.headers["Authorization"] == "Bearer caller"
        records = await world.ended(response_id)
        assert (records[0].channel, records[0].metadata) == ("chat:1", {"model": "m-large", "created": 1763860000})
        assert text_of(records) == TEXT
        assert (records[-1].reason, records[-1].usage) == ("stop", USAGE)
        raw = [record async for record in read_topic(kafka.bootstrap, topic_names.tokens)]
        assert [dict(record.headers).get("traceparent") for record in raw] == [
            parent.encode(),
            *[None] * (len(raw) - 1),
        ]
        await eventually(lambda: world.metric("bridge_streams") == 0)
        assert world.metric("bridge_requests_total", status="200") == 1
        assert world.metric("bridge_first_byte_seconds_count") == 1


async def test_a_caller_that_asks_for_no_stream_gets_a_whole_completion(
    kafka: LocalKafka, topic_names: TopicNames
) -> None:
    async with bridge_world(kafka, topic_names.tokens, key="bridge-key") as world:
        async with world.ask(headers={"x-tokenstream-response-id": "r-7"}) as answer:
            completion = await answer.json()
        assert (answer.status, answer.headers["x-tokenstream-response-id"]) == (200, "r-7")
        assert completion["object"] == "chat.completion"
        assert completion["choices"] == [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}
        ]
        assert completion["usage"] == USAGE
        assert world.model.asked[0].body["stream"] is True
        assert world.model.asked[0].headers["Authorization"] == "Bearer bridge-key"
        assert text_of(await world.ended("r-7")) == TEXT


async def test_the_older_api_is_served_too(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        body = {"model": "words", "prompt": "one two"}
        headers = {"x-tokenstream-channel": "chat:1"}
        async with world.client.post(f"{world.url}/completions", json=body, headers=headers) as answer:
            completion = await answer.json()
        assert (completion["object"], completion["choices"][0]["text"]) == ("text_completion", "one two ")
        assert text_of(await world.ended(answer.headers["x-tokenstream-response-id"])) == "one two "


async def test_a_detached_caller_is_answered_at_once(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        async with world.ask("gated", stream=True, headers={"x-tokenstream-mode": "detach"}) as answer:
            found = await answer.json()
        assert (answer.status, set(found), found["channel"]) == (202, {"responseId", "channel"}, "chat:1")
        assert world.model.generating == 1
        for _ in range(4):
            world.model.release.release()
        assert text_of(await world.ended(found["responseId"])) == TEXT
        assert world.metric("bridge_requests_total", status="202") == 1


async def test_a_caller_that_goes_away_does_not_end_the_response(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        answer = await world.ask("gated", stream=True)
        await answer.content.readany()
        answer.close()
        for _ in range(4):
            world.model.release.release()
        records = await world.ended(answer.headers["x-tokenstream-response-id"])
        assert (text_of(records), records[-1].reason) == (TEXT, "stop")


async def test_models_pass_through(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens, key="bridge-key") as world:
        async with world.client.get(f"{world.url}/models") as answer:
            assert (await answer.json())["seen"] == "Bearer bridge-key"
        async with world.client.get(f"{world.url}/models", headers={"Authorization": "Bearer mine"}) as answer:
            assert (await answer.json())["seen"] == "Bearer mine"


async def test_a_query_goes_on_as_it_was_sent(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        query = "api-version=1%2F2&q=a%26b%20c"
        headers = {"x-tokenstream-channel": "chat:1"}
        url = URL(f"{world.url}/chat/completions?{query}", encoded=True)
        async with world.client.post(url, json={"messages": [{"content": "one"}]}, headers=headers) as answer:
            assert answer.status == 200
        assert world.model.asked[0].query == query


async def test_other_paths_are_not_found(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        for method, path in (
            ("GET", "/chat/completions"),
            ("POST", "/embeddings"),
            ("GET", "/models/m"),
            ("POST", "/../x"),
        ):
            async with world.client.request(method, world.url + path) as answer:
                assert answer.status == 404
                assert (await answer.json())["error"]["code"] == "not_found"
        for path in ("healthz", "readyz", "metrics"):
            async with world.client.get(world.url.removesuffix("v1") + path) as answer:
                assert answer.status == 200


async def test_a_wrong_request_asks_nobody(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        body = {"model": "words", "messages": []}
        for headers in ({}, {"x-tokenstream-channel": "c", "x-tokenstream-response-id": ".."}):
            async with world.client.post(f"{world.url}/chat/completions", json=body, headers=headers) as answer:
                assert answer.status == 400
        assert world.model.asked == []
        assert world.metric("bridge_requests_total", status="400") == 2


async def test_the_template_gives_the_channel(kafka: LocalKafka, topic_names: TopicNames) -> None:
    rules = Rules(ChannelTemplate("user:{user}"))
    async with bridge_world(kafka, topic_names.tokens, rules=rules) as world:
        body = {"model": "words", "user": "u1", "messages": [{"content": "one"}]}
        async with world.client.post(f"{world.url}/chat/completions", json=body) as answer:
            assert answer.status == 200
        records = await world.ended(answer.headers["x-tokenstream-response-id"])
        assert records[0].channel == "user:u1"


async def test_a_token_must_match_the_channel(kafka: LocalKafka, topic_names: TopicNames) -> None:
    tokens = (ApiToken("one-two-three-four", "chat:*"), ApiToken("reader-reader-reader", "*", read_only=True))
    async with bridge_world(kafka, topic_names.tokens, tokens=tokens) as world:

        async def status(token: str | None, channel: str = "chat:1") -> int:
            headers = {"x-tokenstream-channel": channel} | ({"x-tokenstream-token": token} if token else {})
            async with world.ask(headers=headers) as answer:
                return int(answer.status)

        assert await status(None) == 401
        assert await status("wrong") == 401
        assert await status("one-two-three-four", "other:1") == 403
        assert await status("reader-reader-reader") == 403
        assert world.model.asked == []
        assert await status("one-two-three-four") == 200
        assert "x-tokenstream-token" not in {name.lower() for name in world.model.asked[0].headers}


async def test_without_tokens_no_web_page_of_another_host_is_served(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        foreign: list[dict[str, str]] = [{"Origin": "https://evil.example"}, {"Host": "evil.example"}]
        for headers in foreign:
            async with world.ask(headers=headers) as answer:
                assert answer.status == 403
        async with world.ask(headers={"Origin": "http://localhost:3000"}) as answer:
            assert answer.status == 200


async def test_an_id_is_used_by_one_open_response(kafka: LocalKafka, topic_names: TopicNames) -> None:
    headers = {"x-tokenstream-response-id": "r-1", "x-tokenstream-mode": "detach"}
    async with bridge_world(kafka, topic_names.tokens, drain_seconds=0.1) as world:
        async with world.ask("gated", headers=headers) as first, world.ask("gated", headers=headers) as second:
            assert (first.status, second.status) == (202, 409)
        assert len(world.model.asked) == 1


async def test_a_large_request_is_forwarded(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with bridge_world(kafka, topic_names.tokens) as world:
        body = {"model": "words", "messages": [{"content": "one"}], "metadata": {"picture": "x" * 5_000_000}}
        headers = {"x-tokenstream-channel": "chat:1"}
        sent = io.BytesIO(json.dumps(body).encode())
        async with world.client.post(f"{world.url}/chat/completions", data=sent, headers=headers) as answer:
            assert answer.status == 200
        assert world.model.asked[0].body["metadata"] == body["metadata"]


async def test_a_slow_caller_slows_the_model_server(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with (
        bridge_world(kafka, topic_names.tokens, drain_seconds=0.1) as world,
        aiohttp.ClientSession(read_bufsize=2**10) as slow,
    ):
        body = {"model": "endless", "stream": True, "messages": [{"content": "x" * 10_000}]}
        headers = {"x-tokenstream-channel": "chat:1"}
        async with slow.post(f"{world.url}/chat/completions", json=body, headers=headers):
            (asked,) = await eventually(lambda: world.model.asked)

            async def stands_still() -> bool:
                before = len(asked.sent)
                await world.link.trouble()
                return before == len(asked.sent) and before > 0

            await eventually(stands_still, deadline=60)
            assert not asked.finished
