"""Readers of a gateway in one process: a store in memory, a wire that keeps what was written."""

import asyncio
import json
from dataclasses import dataclass, field
from random import Random
from typing import Self

from devtools.event_readers import Event, read_events
from processor.clock import Clock
from processor.gateway.clients import StreamClient
from processor.gateway.delivery import DeliveryParts, StreamDelivery
from processor.gateway.formats import StreamFormat, new_stream
from processor.gateway.hub import Hub, HubLimits
from processor.gateway.places import Once, SnapshotPlaces
from processor.gateway.resume import beginning
from processor.gateway.snapshots import Snapshots
from processor.ports.store import Page, Position, StoredResponse

MIB = 1024 * 1024


class MemoryRecords:
    """What a gateway reads from a store."""

    def __init__(self) -> None:
        self._records: dict[str, StoredResponse] = {}
        self.failure: Exception | None = None

    def put(self, value: bytes) -> None:
        response_id = json.loads(value)["responseId"]
        self._records[response_id] = StoredResponse(Position(0, 0), response_id, value)

    async def get(self, response_id: str) -> StoredResponse | None:
        if self.failure is not None:
            raise self.failure
        return self._records.get(response_id)

    async def hydrate(self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = 0) -> Page:
        """One page has everything: paging is the store's own matter."""
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        found = [each for each in self._records.values() if each.record.channel == channel]
        found.sort(key=lambda each: each.record.started_at, reverse=True)
        finished = [each for each in found if each.record.finished][:limit]
        return Page(tuple(each for each in found if each in finished or not each.record.finished), None)


class KeptWire:
    """`full` makes a reader that takes nothing."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False
        self._taken = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def full(self) -> bool:
        return not self._room.is_set()

    @full.setter
    def full(self, full: bool) -> None:
        if full:
            self._taken = len(self.written)
            self._room.clear()
        else:
            self._room.set()

    def queued(self) -> int:
        return len(self.written) - self._taken if self.full else 0

    def write(self, block: bytes) -> None:
        self.written += block

    async def drained(self) -> None:
        await self._room.wait()
        if self.aborted:
            raise ConnectionResetError("the reader is gone")

    def abort(self) -> None:
        self.aborted = True
        self._room.set()


@dataclass
class Gateway:
    """A gateway without Kafka and HTTP."""

    buffer_bytes: int = MIB
    transcript_bytes: int = MIB
    partitions: int = 1
    places_count: int = 8
    hub: Hub = field(init=False)
    store: MemoryRecords = field(default_factory=MemoryRecords)
    events: int = 0
    resets: int = 0

    def __post_init__(self) -> None:
        self.hub = Hub(HubLimits(self.buffer_bytes, self.transcript_bytes), lambda _ts, readers: self._count(readers))
        for partition in range(self.partitions):
            self.hub.buffer.begin(partition, 0)
        self.snapshots = Snapshots(self.hub, self.store, Clock())
        self.places = SnapshotPlaces(self.places_count)
        self.parts = DeliveryParts(self.hub, self.snapshots, self.places, Clock(), Random(1), self._count, self._reset)

    def _count(self, events: int) -> None:
        self.events += events

    def _reset(self) -> None:
        self.resets += 1


class Connection:
    """One stream: open while entered."""

    def __init__(
        self,
        gateway: Gateway,
        *channels: str,
        last_id: str | None = None,
        limit: int = 20,
        only: str | None = None,
        wanted: StreamFormat = StreamFormat.TOKENSTREAM,
        partition_of: dict[str, int] | None = None,
    ) -> None:
        self.wire = KeptWire()
        self._gateway = gateway
        self._limit = limit
        self._only = only
        self._last_id = last_id or ""
        places = partition_of or {}
        self._partitions = frozenset(places.get(channel, 0) for channel in channels)
        stream = None if only is None else new_stream(wanted, only)
        self.client = StreamClient(frozenset(channels), self._partitions, self.wire, only=only, stream=stream)
        self.delivery = StreamDelivery(gateway.parts, self.client, self.wire)
        self.task: asyncio.Task[None] | None = None

    async def _run(self) -> None:
        begin = beginning(self._last_id, self._partitions, self._gateway.hub.buffer)
        if self._only is not None:
            self.client.move_to(self._gateway.hub.buffer.ends, self._gateway.hub.buffer.serial)
            await self._gateway.snapshots.settle(self._only)
            first = await self._gateway.snapshots.current(self._only)
            assert first is not None
            await self.delivery.run_response(None, Once(first))
            return
        await self.delivery.run_channels(begin, None, self._limit)

    async def __aenter__(self) -> Self:
        self._gateway.hub.add(self.client)
        self.task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gateway.hub.remove(self.client)
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait({self.task})
        if not self.task.cancelled():
            self.task.result()

    def read(self) -> list[Event]:
        return read_events(self.wire.written)

    def names(self) -> list[str]:
        return [event.name for event in self.read()]
