"""What a successor does after an unclean end: against the real broker."""

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.produced import Produced
from support.waiting import eventually
from topics.producer import ResponseWriter, TokenProducer

pytestmark = pytest.mark.timeout(180)


async def write(response: ResponseWriter, produced: Produced, words: range) -> None:
    for number in words:
        text = f"w{number} 😀 "
        await response.token(text)
        produced.add("text", text)


def everything_is_published(lab: Lab, seq: int) -> bool:
    ends = [
        int((message.extras or {})["headers"].get("seqEnd", 0)) for log in lab.realtime.log.values() for message in log
    ]
    return sum(end == seq for end in ends) == len(lab.produced)


async def killed_and_succeeded(lab: Lab) -> None:
    """Nothing is snapshotted before the owner is killed, so that its successor reads every record again."""
    owner = await lab.relay(SNAPSHOT_INTERVAL="100")
    async with TokenProducer(lab.bootstrap, topic=lab.names.tokens) as producer:
        writers = []
        for number in range(6):
            produced = Produced(f"r{number}", f"chat:{number % 3}")
            lab.produced.append(produced)
            writer = producer.response(channel=produced.channel, response_id=produced.response_id)
            await writer.__aenter__()
            await write(writer, produced, range(30))
            writers.append(writer)
        await eventually(lambda: everything_is_published(lab, 30), deadline=60)
        await owner.kill()
        await lab.relay()
        for writer, produced in zip(writers, lab.produced, strict=True):
            await write(writer, produced, range(30, 40))
            await writer.__aexit__(None, None, None)
    await lab.all_finished()


async def test_a_successor_finds_in_history_what_was_published_and_repeats_none_of_it(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=2)) as lab:
        await killed_and_succeeded(lab)
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        assert verdict.repeated_as_published == 0, verdict


async def test_without_any_history_readers_still_see_nothing_twice(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=2)) as lab:
        lab.realtime.faults.add({"history": {"status": 500}})
        await killed_and_succeeded(lab)
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
