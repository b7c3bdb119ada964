"""The reader of controls replaces a client that has silently stopped reading."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from support.waiting import eventually
from topics.controls import ControlEvent, ControlRecord, encode_control
from topics.controls_reader import ControlsReader

CONTROLS = TopicPartition("controls", 0)
CANCEL = encode_control(ControlRecord(ControlEvent.CANCEL, "r-1", "chat:1"))


class Client:
    """A consumer of one partition. The first one that is made stops reading."""

    made = 0

    def __init__(self, **_options: object) -> None:
        type(self).made += 1
        self._stopped = self.made == 1
        self._client = SimpleNamespace(send=None)
        self._fetcher = SimpleNamespace(_fetch_task=SimpleNamespace(done=lambda: self._stopped))

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def topics(self) -> set[str]:
        return {"controls"}

    def subscribe(self, _: Sequence[str]) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return {CONTROLS}

    async def end_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {CONTROLS: 0}

    async def offsets_for_times(self, _: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, Any]:
        return {CONTROLS: None}

    def seek(self, _partition: TopicPartition, _offset: int) -> None: ...

    async def getmany(self, **_how: int) -> Mapping[TopicPartition, Sequence[Any]]:
        await asyncio.sleep(0.01)
        return {} if self._stopped else {CONTROLS: [SimpleNamespace(offset=0, timestamp=0, value=CANCEL)]}


async def test_a_client_that_has_stopped_reading_is_replaced() -> None:
    taken: list[str] = []
    retried: list[None] = []
    reader = ControlsReader(
        dict,
        "controls",
        lambda record, _age: taken.append(record.response_id),
        retried=lambda: retried.append(None),
        client=Client,
    )
    reading = asyncio.create_task(reader.run())
    try:
        await eventually(lambda: "r-1" in taken, deadline=5)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
    assert len(retried) == 1
