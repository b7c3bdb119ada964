"""Writers of tombstones for the contract of `processor.ports.store.Tombstones`, with what a test does beside the port."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from devtools.kafka import LocalKafka
from devtools.topic_reader import read_topic
from processor.kafka.tombstones import KafkaTombstones
from processor.ports.store import Tombstones
from support.connection_switch import ConnectionSwitch
from support.recorders import RecordingTombstones


class TombstoneStage(Protocol):
    @property
    def tombstones(self) -> Tombstones: ...

    async def written(self) -> list[tuple[str, int]]:
        """(response id, partition) of each tombstone, sorted."""
        ...

    def cut(self) -> None:
        """Who connects from now on, until `heal`, can write nothing."""
        ...

    def heal(self) -> None: ...

    def silence(self) -> AbstractContextManager[None]:
        """Nothing that is written meanwhile is acknowledged."""
        ...

    async def close(self) -> None: ...


class RecordedTombstones:
    """The fake."""

    def __init__(self) -> None:
        self.tombstones = RecordingTombstones()

    async def written(self) -> list[tuple[str, int]]:
        return sorted(self.tombstones.written)

    def cut(self) -> None:
        self.tombstones.down = True

    def heal(self) -> None:
        self.tombstones.down = False

    @contextmanager
    def silence(self) -> Iterator[None]:
        self.tombstones.undetermined = True
        yield
        self.tombstones.undetermined = False

    async def close(self) -> None:
        pass


class TombstonesOnKafka:
    """The adapter, with a broker. Only a broker of the test's own may be silenced."""

    def __init__(self, kafka: LocalKafka, topic: str, connection: ConnectionSwitch) -> None:
        self._kafka = kafka
        self._topic = topic
        self._connection = connection
        self.tombstones = KafkaTombstones(connection, responses_topic=topic)

    async def written(self) -> list[tuple[str, int]]:
        found = [record async for record in read_topic(self._kafka.bootstrap, self._topic)]
        assert all(record.value is None for record in found)
        return sorted((record.key.decode(), record.partition) for record in found)

    def cut(self) -> None:
        self._connection.is_cut = True

    def heal(self) -> None:
        self._connection.is_cut = False

    @contextmanager
    def silence(self) -> Iterator[None]:
        self._kafka.pause()
        try:
            yield
        finally:
            self._kafka.resume()

    async def close(self) -> None:
        await self.tombstones.close()
