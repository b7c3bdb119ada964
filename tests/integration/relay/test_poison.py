"""A record that ends whoever reads it becomes a dead letter after a few; one that only raises, at once."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import TokenstreamProcess
from support.lab import ROOT
from support.waiting import comes_to, eventually

pytestmark = pytest.mark.timeout(240)

MOST_OWNERS = 20
"""An owner whose commit is slow ends without counting."""
HERE = Path(__file__).parent


async def write(lab: Lab, response_id: str, *texts: str) -> None:
    """A whole response, all of it in partition 0."""
    events = [
        {"event": "start", "channel": "chat:1"},
        *({"event": "token", "text": text} for text in texts),
        {"event": "stop"},
    ]
    async with AIOKafkaProducer(bootstrap_servers=lab.bootstrap) as producer:
        for seq, event in enumerate(events):
            value = json.dumps({**event, "responseId": response_id, "seq": seq}).encode()
            await producer.send_and_wait(lab.names.tokens, value, key=b"chat:1", partition=0)


async def text_of(lab: Lab, response_id: str) -> str | None:
    record = (await lab.records()).get(response_id)
    return record["parts"][0]["text"] if record and record["status"] == "complete" else None


async def letters(lab: Lab) -> list[tuple[str, int, str]]:
    found = []
    async for record in lab.read(lab.names.dead_letters):
        own = {name: value.decode() for name, value in record.headers}
        assert own["tokenstream-topic"] == lab.names.tokens
        found.append((own["tokenstream-reason"], int(own["tokenstream-offset"]), json.loads(record.value)["text"]))
    return found


async def has_read(relay: TokenstreamProcess) -> bool:
    return await relay.has_started() and await relay.metric("tokenstream_records_consumed_total") > 0


class Owners:
    """Relays one after the other, as a supervisor starts them."""

    def __init__(self, lab: Lab, notes: Path) -> None:
        self.lab = lab
        self.notes = notes
        self.notes.touch()
        self.started = 0

    async def next(self) -> TokenstreamProcess:
        self.started += 1
        assert self.started <= MOST_OWNERS, "one owner after the other is lost to the record"
        command = (sys.executable, str(HERE / "run_mortal.py"), json.dumps({"notes": str(self.notes)}))
        relay = self.lab.new(program=command, GAP_TIMEOUT="1")
        relay.environment["PYTHONPATH"] = str(ROOT)
        await relay.start()
        return relay

    def harmed(self) -> int:
        return len(self.notes.read_text().splitlines())

    async def until_read(self, response_id: str) -> str:
        """Start the next whenever one was harmed, until the response is complete."""
        text: str | None = None

        async def seen() -> bool:
            nonlocal text
            text = await text_of(self.lab, response_id)
            return text is not None or self.harmed() >= self.started

        while text is None:
            await self.next()
            await eventually(seen, deadline=60, every=0.2)
        return text


@pytest.mark.parametrize("harm", ["KILL", pytest.param("HANG", marks=pytest.mark.long)])
async def test_a_record_that_ends_its_readers_becomes_a_dead_letter(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path, harm: str
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        await write(lab, "before", "one ", "two")
        await write(lab, "harmful", "a", harm, "b")
        await write(lab, "after", "three ", "four")
        owners = Owners(lab, tmp_path / "notes")
        assert await owners.until_read("after") == "three four"
        await comes_to("one two", lambda: text_of(lab, "before"))
        await comes_to([("poison", 6, harm)], lambda: letters(lab))
        assert await eventually(lambda: text_of(lab, "harmful"), deadline=60, every=0.3) == "ab"
        assert owners.harmed() < MOST_OWNERS


@pytest.mark.parametrize("harm", ["RAISE", "SPOIL"])
async def test_a_record_that_raises_costs_itself_and_no_owner(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path, harm: str
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        await write(lab, "before", "one ", "two")
        await write(lab, "harmful", "a", harm, "b")
        await write(lab, "after", "three ", "four")
        relay = await Owners(lab, tmp_path / "notes").next()
        assert await eventually(lambda: text_of(lab, "after"), deadline=60, every=0.3) == "three four"
        assert await eventually(lambda: text_of(lab, "harmful"), deadline=60, every=0.3) == "ab"
        await comes_to([("poison", 6, harm)], lambda: letters(lab))
        await comes_to("one two", lambda: text_of(lab, "before"))
        assert relay.returncode is None
        assert lab.verdict().repeated_as_published == 0


async def test_owners_that_end_during_an_outage_cost_no_record(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        await write(lab, "healthy", "one ", "two")
        for end in ("kill", "kill", "kill", "stop", "kill", "kill"):
            relay = await lab.relay(ready=False, ABLY_ENDPOINT=f"127.0.0.1:{free_port()}")
            assert await eventually(partial(has_read, relay), deadline=60, every=0.1)
            await getattr(relay, end)()
        await lab.relay()
        assert await eventually(lambda: text_of(lab, "healthy"), deadline=60, every=0.3) == "one two"
        assert await letters(lab) == []
