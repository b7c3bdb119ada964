"""Whatever comes between a reader and a gateway, the reader's texts are those of the log, with no gap and no repeat."""

import asyncio
import json
from random import Random

import pytest

from devtools.event_readers import EventReader
from support.examples import examples
from support.gateway_log import logged, record_value, response_record, start, stop, token
from support.gateway_readers import Connection, Gateway

CHANNELS = ("x", "y", "z")
PLACES = {"x": 0, "y": 1, "z": 1}


class WrittenLog:
    """A log of responses in two partitions, and the gateways that read it, each as far as it has come."""

    def __init__(self, random: Random, gateways: list[Gateway]) -> None:
        self._random = random
        self._gateways = gateways
        self.partitions: tuple[list[bytes], list[bytes]] = ([], [])
        self.open: dict[str, tuple[str, str, int]] = {}
        self.texts: dict[str, str] = {}
        self.finals: list[tuple[str, bytes]] = []
        self._finals_read = dict.fromkeys(map(id, gateways), 0)

    def write(self) -> None:
        if not self.open or (len(self.texts) < 12 and self._random.random() < 0.2):
            self._begin()
            return
        response_id = self._random.choice(list(self.open))
        channel, text, seq = self.open[response_id]
        partition = self.partitions[PLACES[channel]]
        if self._random.random() < 0.1:
            partition.append(stop(seq, {"text": text}, response_id, channel))
            del self.open[response_id]
            final = record_value(response_id, text, seq=seq, status="complete", channel=channel, finishedAt=5_000)
            self.finals.append((response_id, final))
            return
        count = self._random.randint(1, 3)
        new = "".join(self._random.choice("ab😀") for _ in range(count))
        units = len(text.encode("utf-16-le")) // 2
        frame = token(seq, units, new, response_id, channel, seq_end=seq + count - 1)
        partition.extend([frame] * self._random.choice((1, 1, 1, 2)))
        self.open[response_id] = (channel, text + new, seq + count)
        self.texts[response_id] = text + new

    def _begin(self) -> None:
        response_id, channel = f"r{len(self.texts)}", self._random.choice(CHANNELS)
        self.partitions[PLACES[channel]].append(start(response_id, channel))
        self.open[response_id] = (channel, "", 1)
        self.texts[response_id] = ""

    def read(self, gateway: Gateway, partition: int) -> None:
        first = gateway.hub.buffer.ends[partition] + 1
        values = self.partitions[partition][first : first + self._random.randint(1, 4)]
        gateway.hub.take_frames(logged(values, partition=partition, first=first), 5_000)

    def read_final(self, gateway: Gateway) -> None:
        done = self._finals_read[id(gateway)]
        for response_id, value in self.finals[done : done + 1]:
            gateway.hub.take_responses([response_record(value, response_id)], 5_000)
            self._finals_read[id(gateway)] += 1

    def settle(self) -> None:
        for gateway in self._gateways:
            for partition in (0, 1):
                while gateway.hub.buffer.ends[partition] + 1 < len(self.partitions[partition]):
                    self.read(gateway, partition)
            while self._finals_read[id(gateway)] < len(self.finals):
                self.read_final(gateway)


async def run(seed: int, buffer_bytes: int) -> tuple[WrittenLog, EventReader]:
    random = Random(seed)
    store_gateways = [Gateway(buffer_bytes=buffer_bytes, partitions=2) for _ in range(2)]
    log = WrittenLog(random, store_gateways)
    reader = EventReader()
    while len(log.texts) < 12 or log.open:
        gateway = random.choice(store_gateways)
        async with Connection(gateway, *CHANNELS, last_id=reader.last_id, partition_of=PLACES, limit=100) as connection:
            for _ in range(random.randint(1, 40)):
                step = random.random()
                if step < 0.4:
                    log.write()
                elif step < 0.75:
                    log.read(random.choice(store_gateways), random.randint(0, 1))
                elif step < 0.8:
                    log.read_final(random.choice(store_gateways))
                elif step < 0.85:
                    connection.wire.full = not connection.wire.full
                else:
                    await asyncio.sleep(0)
            kept = connection.read()
        # The connection breaks at any event: what was behind it never arrived.
        reader.take(kept[: random.randint(0, len(kept))])
    log.settle()
    async with Connection(
        store_gateways[0], *CHANNELS, last_id=reader.last_id, partition_of=PLACES, limit=100
    ) as connection:
        for _ in range(200):
            await asyncio.sleep(0)
        reader.take(connection.read())
    return log, reader


@pytest.mark.parametrize("buffer_bytes", [2_000, 6_000, 1_000_000])
@pytest.mark.parametrize("seed", range(examples(25)))
async def test_a_reader_that_keeps_the_offset_rule_needs_nothing_else(seed: int, buffer_bytes: int) -> None:
    log, reader = await run(seed, buffer_bytes)
    assert {key: reader.text(key) for key in log.texts} == log.texts
    assert reader.reader.needs() == ()
    assert all(response.verified is not False for response in reader.reader.responses.values())


@pytest.mark.parametrize("seed", range(examples(25)))
async def test_one_connection_repeats_and_misses_nothing(seed: int) -> None:
    """Without a reset even a reader that only appends has every text."""
    random = Random(seed)
    gateway = Gateway(partitions=2)
    log = WrittenLog(random, [gateway])
    for _ in range(random.randint(0, 60)):
        log.write()
    log.settle()
    async with Connection(gateway, *CHANNELS, partition_of=PLACES, limit=100) as connection:
        while len(log.texts) < 12 or log.open:
            log.write()
            if random.random() < 0.5:
                log.read(gateway, random.randint(0, 1))
            if random.random() < 0.5:
                await asyncio.sleep(0)
        log.settle()
        for _ in range(100):
            await asyncio.sleep(0)
        texts: dict[str, str] = {}
        for event in connection.read():
            fields = event.data
            response_id = fields["headers"].get("responseId", "")
            if event.name == "snapshot":
                assert response_id not in texts
                texts[response_id] = fields["data"]["text"]
            elif event.name == "start":
                assert response_id not in texts
                texts[response_id] = ""
            elif event.name == "token":
                assert int(fields["headers"]["offset"]) * 2 == len(texts[response_id].encode("utf-16-le"))
                texts[response_id] += fields["data"]
    assert texts == log.texts
    assert json.dumps(texts)
