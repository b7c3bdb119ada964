"""Where Kafka itself sets a limit: records deleted before they were read, and topics that take no large records."""

import signal
from hashlib import sha256
from random import Random

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from support.token_log import limit_topic, trim_topic
from support.waiting import eventually
from topics.codec import encode_token_event
from topics.records import Event

pytestmark = pytest.mark.timeout(180)


async def test_records_deleted_unread_are_noticed_by_an_owner_that_was_slow(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    """A response with numbers has its gap announced; one without can't know what it lost, and ends."""
    names = await make_topics(partitions=1)
    async with (
        laboratory(kafka.bootstrap, names) as lab,
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer,
    ):

        async def send(event: Event, response_id: str, seq: int | None, text: str | None = None) -> int:
            channel = f"chat:{response_id}" if event is Event.START else None
            value = encode_token_event(event, response_id, seq, channel=channel, text=text)
            sent = await producer.send_and_wait(names.tokens, value, key=b"k")
            offset: int = sent.offset
            return offset

        slow = await lab.relay(KAFKA_SESSION_TIMEOUT="30", GAP_TIMEOUT="0.5")
        for event, seq, text in ((Event.START, 0, None), (Event.TOKEN, 1, "a")):
            await send(event, "numbered", seq, text)
            await send(event, "unnumbered", None, text)
        await eventually(lambda: lab.published() == 4, deadline=60)
        slow.signal(signal.SIGSTOP)
        # What it had asked for already it may still be given; of three records, sent one after the other, not the last.
        for seq in (2, 3, 4):
            await send(Event.TOKEN, "unnumbered", None, "lost")
            last = await send(Event.TOKEN, "numbered", seq, "lost")
        await trim_topic(kafka.bootstrap, names.tokens, 0, last + 1)
        slow.signal(signal.SIGCONT)
        await send(Event.TOKEN, "numbered", 5, "z")
        await send(Event.TOKEN, "unnumbered", None, "z")
        await send(Event.STOP, "numbered", 6)

        async def both_ended() -> bool:
            records = await lab.records()
            return {name for name, each in records.items() if each["status"] != "streaming"} == {
                "numbered",
                "unnumbered",
            }

        await eventually(both_ended, deadline=60, every=0.3)
        records = await lab.records()
        assert records["numbered"]["status"] == "complete"
        assert records["numbered"]["parts"][0]["text"].replace("lost", "") == "az"
        assert records["numbered"]["gaps"][-1][1] == 4
        assert (records["unnumbered"]["status"], records["unnumbered"]["reason"]) == ("failed", "lost")
        assert "z" not in records["unnumbered"]["parts"][0]["text"]


async def test_a_dead_letter_that_its_topic_refuses_is_cut_until_it_is_taken(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    names = await make_topics(partitions=1)
    await limit_topic(kafka.bootstrap, names.dead_letters, 100_000)
    value = Random(1).randbytes(400_000)  # nothing that compression makes small
    async with (
        laboratory(kafka.bootstrap, names) as lab,
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer,
    ):
        await lab.relay()
        await producer.send_and_wait(names.tokens, value, key=b"k")
        kept, headers = await first_dead_letter(lab)
        assert 32_000 < len(kept) + 20_000 < 120_000
        assert value.startswith(kept)
        assert headers["tokenstream-sha256"].decode() == sha256(value).hexdigest()
        assert headers["tokenstream-size"] == b"400000"
        await eventually(lab.processes[0].is_ready, deadline=60, every=0.1)


async def first_dead_letter(lab: Lab) -> tuple[bytes, dict[str, bytes]]:
    consumer = AIOKafkaConsumer(
        lab.names.dead_letters,
        bootstrap_servers=lab.bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with consumer:
        record = await consumer.getone()
        return record.value, dict(record.headers)
