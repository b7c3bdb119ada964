"""Dead letters on the real broker: listed, shown, and put back as a new response."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.topic_reader import read_topic
from support.command_line import kafka_environment, tokenstream
from support.records import record
from support.waiting import eventually
from topics.codec import encode_response
from topics.specs import TopicNames

REFUSAL = {"nack": {"code": 40160, "channel": "^chat:0$"}}


class Letters:
    """Writes dead letters as the relay does, and reads what a replay wrote."""

    def __init__(self, bootstrap: str, names: TopicNames) -> None:
        self.bootstrap, self.names = bootstrap, names

    async def write(self, records: Sequence[tuple[int, dict[str, object] | bytes, str]]) -> None:
        """Of (offset in partition 1 of tokens, value, reason)."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            for offset, value, reason in records:
                own = {"reason": reason, "topic": self.names.tokens, "partition": "1", "offset": str(offset)}
                headers = [(f"tokenstream-{name}", text.encode()) for name, text in own.items()]
                body = value if isinstance(value, bytes) else json.dumps({"v": 1, **value}).encode()
                await producer.send_and_wait(
                    self.names.dead_letters, body, key=b"chat:1", headers=[*headers, ("trace", b"t-1")]
                )
        finally:
            await producer.stop()

    async def keep(self, response_id: str, channel: str) -> None:
        """What the relay wrote of the response when it failed, on the partition its tokens came from."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            value = encode_response(record(response_id, channel=channel))
            await producer.send_and_wait(self.names.responses, value, key=response_id.encode(), partition=1)
        finally:
            await producer.stop()

    async def tokens(self) -> list[dict[str, object]]:
        return [json.loads(record.value) async for record in read_topic(self.bootstrap, self.names.tokens)]


@pytest.fixture
def letters(kafka: LocalKafka, topic_names: TopicNames) -> Letters:
    return Letters(kafka.bootstrap, topic_names)


def rest_of_response(response_id: str) -> list[tuple[int, dict[str, object] | bytes, str]]:
    """As a relay leaves it whose channel refused after the first token."""
    return [
        (12, {"event": "token", "responseId": response_id, "seq": 2, "text": "wör"}, "unpublishable"),
        (14, {"event": "token", "responseId": response_id, "seq": 3, "text": "ld", "part": "a", "kind": "reasoning"}, "unpublishable"),
        (12, {"event": "token", "responseId": response_id, "seq": 2, "text": "wör"}, "unpublishable"),
        (17, {"event": "stop", "responseId": response_id, "seq": 4, "reason": "length", "usage": {"n": 3}}, "unpublishable"),
    ]  # fmt: skip


async def test_dead_letters_are_listed_once_with_reason_and_source(letters: Letters) -> None:
    environment = kafka_environment(letters.bootstrap, letters.names)
    await letters.write([*rest_of_response("r-1"), (20, b"\xff no json \x1b[31m", "not_json")])
    listed = await tokenstream("dead-letters", "list", "--json", environment=environment)
    assert [(line["source"]["offset"], line["reason"]) for line in listed.json] == [
        (12, "unpublishable"),
        (14, "unpublishable"),
        (17, "unpublishable"),
        (20, "not_json"),
    ]
    newest = await tokenstream("dead-letters", "list", "--response", "r-1", "--limit", "2", environment=environment)
    assert newest.out.count("r-1") == 2
    assert "newest 2 of 3" in newest.out
    other = await tokenstream("dead-letters", "list", "--reason", "late", environment=environment)
    assert other.out == "There are no such dead letters.\n"


async def test_a_dead_letter_is_shown_whole_and_can_not_control_the_terminal(letters: Letters) -> None:
    environment = kafka_environment(letters.bootstrap, letters.names)
    await letters.write([*rest_of_response("r-1")[:1], (20, b"\xff no json \x1b[31m", "not_json")])
    listed = await tokenstream("dead-letters", "list", "--reason", "not_json", "--json", environment=environment)
    place = f"{listed.json[0]['partition']}:{listed.json[0]['offset']}"
    shown = await tokenstream("dead-letters", "show", place, environment=environment)
    assert "\\xff no json ␛[31m" in shown.out
    assert "trace: t-1" in shown.out
    of_response = await tokenstream("dead-letters", "show", "--response", "r-1", environment=environment)
    assert '"text": "wör"' in of_response.out


async def test_mistakes_are_told_in_one_sentence(letters: Letters) -> None:
    environment = kafka_environment(letters.bootstrap, letters.names)
    for arguments, told in (
        (("show", "0:99999"), "dead-letters list"),
        (("show", "--response", "nobody"), "No dead letter is of response nobody"),
        (("replay", "--response", "nobody"), "No dead letter is of response nobody"),
    ):
        done = await tokenstream("dead-letters", *arguments, environment=environment)
        assert done.code == 1
        assert told in done.err
        assert done.err.count("\n") == 1
    elsewhere = {**environment, "TOKENSTREAM_DEAD_LETTERS_TOPIC": f"{letters.names.dead_letters}.none"}
    done = await tokenstream("dead-letters", "list", environment=elsewhere)
    assert (done.code, "topics apply" in done.err) == (1, True)


async def test_the_rest_of_a_delivered_response_gets_a_start_made_from_its_record(letters: Letters) -> None:
    environment = kafka_environment(letters.bootstrap, letters.names)
    await letters.write(rest_of_response("r-1"))
    without = await tokenstream("dead-letters", "replay", "--response", "r-1", environment=environment)
    assert (without.code, "--channel" in without.err) == (1, True)
    await letters.keep("r-1", "chat:1")

    dry = await tokenstream("dead-letters", "replay", "--response", "r-1", "--dry-run", environment=environment)
    assert "Would replay 2 tokens of response r-1 to channel chat:1" in dry.out
    assert await letters.tokens() == []

    done = await tokenstream("dead-letters", "replay", "--response", "r-1", "--json", environment=environment)
    new_id = done.json[0]["responseId"]
    start, first, second, stop = await letters.tokens()
    assert {start["responseId"], first["responseId"], second["responseId"], stop["responseId"]} == {new_id}
    assert [start["seq"], first["seq"], second["seq"], stop["seq"]] == [0, 1, 2, 3]
    assert (start["channel"], start["metadata"]["replayOf"]) == ("chat:1", "r-1")  # type: ignore[index]
    assert (first["text"], second["text"], second["part"], second["kind"]) == ("wör", "ld", "a", "reasoning")
    assert (stop["reason"], stop["usage"]) == ("length", {"n": 3})


async def test_one_record_can_be_replayed_by_its_source_onto_another_channel(letters: Letters) -> None:
    environment = kafka_environment(letters.bootstrap, letters.names)
    await letters.write(rest_of_response("r-1"))
    source = f"{letters.names.tokens}:1:14"
    done = await tokenstream(
        "dead-letters", "replay", "--source", source, "--channel", "chat:other", environment=environment
    )
    assert "Replayed 1 tokens" in done.out
    start, token, stop = await letters.tokens()
    assert (start["channel"], token["text"], stop["reason"]) == ("chat:other", "ld", "stop")


async def test_a_response_whose_channel_refused_it_arrives_whole_after_its_replay(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        lab.realtime.faults.add(REFUSAL)
        await lab.relay()
        await lab.stream(responses=4, tokens=30, channels=2, pause=0.002, parts=True)
        refused = [produced for produced in lab.produced if produced.channel == "chat:0"]
        records = await eventually(
            lambda: failed_records(lab, {produced.response_id for produced in refused}), deadline=30
        )
        environment = lab.environment()
        for produced in refused:
            assert records[produced.response_id]["error"]["code"] == "unpublishable"
            listed = await tokenstream(
                "dead-letters", "list", "--response", produced.response_id, "--json", "--limit", "100", environment=environment
            )  # fmt: skip
            offsets = [line["source"]["offset"] for line in listed.json]
            assert offsets == sorted(offsets)
            assert len(offsets) == produced.tokens + 2
            assert {line["reason"] for line in listed.json} == {"unpublishable"}
        lab.realtime.faults.clear()
        await replay_and_judge(lab, [produced.response_id for produced in refused])


async def failed_records(lab: Lab, refused: set[str]) -> dict[str, dict[str, Any]]:
    """Everyone else goes on: they are complete, the refused have failed."""
    records = await lab.records()
    assert {produced.response_id for produced in lab.produced} <= records.keys()
    statuses = {produced.response_id: records[produced.response_id]["status"] for produced in lab.produced}
    assert statuses == {response_id: "failed" if response_id in refused else "complete" for response_id in statuses}
    return records


async def replay_and_judge(lab: Lab, old_ids: list[str]) -> None:
    """The new responses take the place of the old among what is expected, and all is whole."""
    for old_id in old_ids:
        done = await tokenstream(
            "dead-letters", "replay", "--response", old_id, "--json", environment=lab.environment()
        )
        produced = next(produced for produced in lab.produced if produced.response_id == old_id)
        produced.response_id = done.json[0]["responseId"]
        assert done.json[0]["metadata"] == {"model": "m", "replayOf": old_id}
    await lab.all_finished()
    verdict = lab.verdict()
    assert not verdict.wrong, verdict
    assert verdict.repeated_as_published == 0, verdict
