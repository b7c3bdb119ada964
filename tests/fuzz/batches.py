"""Answers to fetches of any bytes, read as a relay reads them: aiokafka's own fetcher, our parsing, a pipeline, dead
letters.

Inputs are made from right batches that are damaged, resealed with a right checksum or not, and from nothing at all.
"""

import asyncio
import random
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from devtools.raw_batches import CODECS, HEADER, around, batch, sealed
from processor.core.dead_letters import headers_of, value_of
from processor.core.items import Refused
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.kafka.record_batches import Trouble, Unreadable, read_safely
from processor.kafka.record_batches.limits import TAKEN_BYTES
from topics.codec import Decoder
from topics.records import Reason

TOPIC = TopicPartition("tokens", 0)
BOUND = 256 * 1024
NAMES = (b"h", b"\xff\xfe", b"\xed\xa0\x80", b"", b"traceparent", b"tokenstream-reason")
TIMES = (-1, 0, 7, 2**63 - 1, -(2**62), 10**15)
VALUES = (
    b'{"event":"start","responseId":"r-1","seq":0,"channel":"chat:1"}',
    b'{"event":"token","responseId":"r-1","seq":1,"text":"Hi"}',
    b'{"event":"stop","responseId":"r-1","seq":2}',
    b"",
    b"\xff\x00\xfe",
    bytes(2 * BOUND),
)


def make_input(chance: random.Random) -> bytes:
    """One answer: some batches, some of them spoilt."""
    return b"".join(_spoil(_batch(chance, number), chance) for number in range(chance.randint(1, 3)))


def _batch(chance: random.Random, number: int) -> bytes:
    codec, base = chance.choice(tuple(CODECS.values())), number * 4 + chance.choice((0, 0, 0, 1, 2**40))
    kind = chance.random()
    if kind < 0.1:
        return around(
            chance.randbytes(chance.randint(0, 60)), count=chance.randint(0, 5), codec=chance.randint(0, 7), base=base
        )
    if kind < 0.2:
        return _legacy(chance, base)
    headers = [
        (chance.choice(("h", "zqzq", "x" * 40)), chance.choice((None, b"", b"v"))) for _ in range(chance.randint(0, 3))
    ]
    entries = [
        (chance.choice((None, b"", b"k")), chance.choice((None, *VALUES)), headers) for _ in range(chance.randint(1, 4))
    ]
    made = batch(entries, codec=codec, base=base, timestamp=chance.choice((0, 7, 10**15)))
    if chance.random() < 0.3:
        made = made.replace(b"zqzq", chance.randbytes(4))
    return sealed(made)


def _legacy(chance: random.Random, base: int) -> bytes:
    builder = LegacyRecordBatchBuilder(chance.choice((0, 1)), chance.choice((0, 1, 2)), 1 << 20)
    for offset in range(chance.randint(1, 3)):
        builder.append(offset, timestamp=7, key=b"k", value=chance.choice(VALUES))
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def _spoil(data: bytes, chance: random.Random) -> bytes:
    spoilt = bytearray(data)
    kind = chance.random()
    if kind < 0.35:
        return data
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(spoilt))
        spoilt[at] = chance.choice((spoilt[at] ^ (1 << chance.randrange(8)), 0, 0x7F, 0xFF))
    if kind < 0.5:
        del spoilt[chance.randrange(len(spoilt)) :]
    if kind < 0.85 and len(spoilt) > HEADER:
        if chance.random() < 0.3:
            struct.pack_into(">q", spoilt, 27, chance.choice(TIMES))
        if chance.random() < 0.8:
            struct.pack_into(">i", spoilt, 8, len(spoilt) - 12)
        return sealed(bytes(spoilt))
    return bytes(spoilt)


@dataclass
class Reading:
    """The outcome of one answer."""

    offsets: list[int] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    position: int = 0

    @property
    def signature(self) -> str:
        """Equal for answers that were read in the same way."""
        said = "; ".join(sorted(set(self.letters + self.troubles)))
        return re.sub(r"\d+", "N", f"{bool(self.offsets)} {said}")


class Reader:
    """A fetcher whose broker answers what it is given."""

    def __init__(self, call_limit: int = TAKEN_BYTES) -> None:
        self._answer = b""
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user({TOPIC})
        self._assignment = subscriptions.subscription.assignment
        cluster = SimpleNamespace(leader_for_partition=lambda _: None)
        self._client: Any = SimpleNamespace(
            _loop=asyncio.get_running_loop(), _metadata_max_age_ms=1000, cluster=cluster, send=self._send
        )
        self._fetcher = Fetcher(self._client, subscriptions, isolation_level="read_committed")
        self._troubles: list[str] = []
        consumer: Any = SimpleNamespace(_fetcher=self._fetcher, _client=self._client)
        self._fetches = read_safely(
            consumer, limit=BOUND, as_read=True, refuse=_refuse, noted=self._note, call_limit=call_limit
        )

    async def close(self) -> None:
        self._fetcher._fetch_task.cancel()
        with suppress(asyncio.CancelledError):
            await self._fetcher._fetch_task

    def _note(self, trouble: Trouble) -> None:
        self._troubles.append(trouble.cause)

    async def _send(self, _node: int, _request: Any) -> Any:
        partitions: list[tuple[Any, ...]] = [(TOPIC.partition, 0, 1 << 50, 1 << 50, [], self._answer)]
        return SimpleNamespace(API_VERSION=4, topics=[(TOPIC.topic, partitions)])

    @property
    def position(self) -> int:
        return int(self._assignment.state_value(TOPIC).position)

    async def fetch(self, answer: bytes, start: int = 0) -> None:
        """Makes the answer what is there to be taken."""
        self._answer = answer
        self._fetches.troubles.clear()
        self._fetches._held.clear()
        self._troubles = []
        self._assignment.state_value(TOPIC).seek(start)
        request = FetchRequest(0, 1, 1 << 20, 1, [(TOPIC.topic, [(0, start, 1 << 20)])])
        await self._fetcher._proc_fetch_request(self._assignment, 0, request)

    async def take(self, most: int | None = None) -> list[Any]:
        """What one call of the consumer gives."""
        records: list[Any] = (await self._fetcher.fetched_records((), 0, most)).get(TOPIC, [])
        return records

    async def read(self, answer: bytes, start: int = 0) -> Reading:
        """Raises whatever a relay would have to bear."""
        await self.fetch(answer, start)
        pipeline, reading = PartitionPipeline(Decoder(None), Limits()), Reading()
        while records := await self.take(2):
            pipeline.consume(records, records[-1].offset + 1, 0.0)
            reading.offsets += [record.offset for record in records]
        self._fetcher._records.clear()
        reading.position, reading.troubles = self.position, self._troubles
        reading.letters = [_write(letter) for letter in pipeline.collect(1).dead_letters]
        _judge(reading, answer, start)
        return reading


def _refuse(_: TopicPartition, unreadable: Unreadable) -> Refused:
    return Refused(unreadable, Reason(unreadable.fault), unreadable.detail)


def _write(letter: Any) -> str:
    """Checks with the producer's own builder that a dead letter can be written."""
    value, cut = value_of(letter, 1 << 20)
    headers = [*headers_of(letter, topic=TOPIC.topic, partition=0, now_ms=1), *cut]
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 24)
    assert (value, letter.raw.key) != (None, None), "the client writes no record of nothing"
    builder.append(0, 1, letter.raw.key, value, headers)
    builder.build()
    return f"{letter.reason}: {letter.detail}"


def _judge(reading: Reading, answer: bytes, start: int) -> None:
    offsets = reading.offsets
    assert offsets == sorted(set(offsets)), f"offsets out of order: {offsets}"
    assert all(offset >= start for offset in offsets), f"read again: {offsets}"
    assert reading.position >= (offsets[-1] + 1 if offsets else start), "the position is behind what was read"
    assert reading.position > start or reading.troubles or not answer, (
        "neither read nor named: it would be asked for always"
    )


@asynccontextmanager
async def reader(call_limit: int = TAKEN_BYTES) -> AsyncIterator[Reader]:
    made = Reader(call_limit)
    try:
        yield made
    finally:
        await made.close()
