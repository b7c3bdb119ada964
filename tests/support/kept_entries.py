"""Stores for the contract of `processor.ports.store.EntryStore`, with what a test reads of each."""

from random import Random
from typing import Protocol

from processor.ports.store import Entry, EntryStore, ResponseStore, StoredResponse
from simulation.archive import SimStore
from simulation.coverage import Coverage
from support.stores import ids


class KeptEntries(Protocol):
    @property
    def store(self) -> EntryStore: ...

    async def get(self, response_id: str) -> StoredResponse | None: ...

    async def ids(self) -> list[str]:
        """Of the responses in chat:1."""
        ...

    async def hydrate(self) -> set[str]:
        """The ids that a reader of chat:1 gets."""
        ...

    async def remove(self, response_id: str) -> None:
        """Removes a response as the API does."""
        ...


class InStore:
    """A store of the product."""

    def __init__(self, store: ResponseStore) -> None:
        self.store = store
        self.get = store.get

    async def ids(self) -> list[str]:
        return await ids(self.store)

    async def hydrate(self) -> set[str]:
        return {item.response_id for item in (await self.store.hydrate("chat:1", limit=100)).items}

    async def remove(self, response_id: str) -> None:
        await self.store.delete(response_id, even_open=True)


class InSimulation:
    """The simulation's store."""

    def __init__(self) -> None:
        self.store = SimStore(Random(1), Coverage())
        self.hydrate = self.store.hydrate

    async def get(self, response_id: str) -> StoredResponse | None:
        kept: Entry | None = self.store.entries.get(response_id)
        return None if kept is None else StoredResponse(kept.position, kept.response_id, kept.value or b"")

    async def ids(self) -> list[str]:
        return [key for key, kept in self.store.entries.items() if kept.record and kept.record.channel == "chat:1"]

    async def remove(self, response_id: str) -> None:
        self.store.remove(response_id)
