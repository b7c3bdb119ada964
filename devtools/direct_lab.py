"""The lab of the transport `direct`: relays and gateways as processes of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from devtools.deployment import create_topics, names_after
from devtools.emulator.server import LocalRealtime
from devtools.event_readers import hashes
from devtools.lab import Lab
from topics.specs import TopicNames


class DirectLab(Lab):
    """No setting of Ably is given."""

    def __init__(self, bootstrap: str, names: TopicNames, store: Path) -> None:
        super().__init__(bootstrap, names, LocalRealtime(), direct=True, STORE_URL=f"sqlite:///{store / 'store.db'}")

    def texts(self) -> dict[str, dict[str, str]]:
        return {produced.response_id: hashes(produced.texts) for produced in self.produced}


@asynccontextmanager
async def direct_lab(bootstrap: str, prefix: str, store: Path, *, partitions: int = 4) -> AsyncIterator[DirectLab]:
    names = await create_topics(bootstrap, names_after(prefix, frames=True), partitions)
    lab = DirectLab(bootstrap, names, store)
    try:
        yield lab
    finally:
        await lab.close()
