"""After a deletion the text of a response is nowhere: the raw bytes of each store are searched.

PostgreSQL: only what queries can read. Dead rows stay in its files until vacuum has removed them.
"""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import obstore
import pytest
from obstore.store import from_url

from devtools.stores import opened
from processor.archive.bucket import Bucket
from processor.archive.object_names import record_key
from processor.archive.objects import ObjectStore
from processor.clock import Clock
from processor.ports.store import Deletion, Entry, ResponseStore
from support.around import Around
from support.records import START, entry, tombstone
from topics.records import Status

DAY_MS = 86_400_000
SECRET = "SECRET-7f3a"
OBJECTS = ("files", "s3")


async def contents(kind: str, url: str, directory: Path) -> bytes:
    """Everything the store has, as bytes."""
    if kind == "postgres":
        connection = await asyncpg.connect(url)
        try:
            return b"".join([row["value"] for row in await connection.fetch("SELECT value FROM responses")])
        finally:
            await connection.close()
    if kind == "s3":
        store = from_url(url, client_options={"allow_http": True})
        keys = [meta["path"] for batch in obstore.list(store) for meta in batch]
        return b"".join([bytes((await obstore.get_async(store, key)).bytes()) for key in keys])

    def read() -> bytes:
        return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())

    return await asyncio.to_thread(read)


def versions(name: str = "r-1") -> list[Entry]:
    return [
        entry(name, offset=1, status=Status.STREAMING, text=f"{SECRET} the"),
        entry(name, offset=2, status=Status.STREAMING, text=f"{SECRET} the whole" + "x" * 20_000),
        entry(name, offset=3, text=f"{SECRET} the whole answer" + "x" * 20_000),
    ]


@pytest.mark.parametrize("way", ["delete", "tombstone", "prune"])
async def test_deleted_text_is_nowhere(store: ResponseStore, kind: str, url: str, tmp_path: Path, way: str) -> None:
    await store.upsert_batch([entry("other", offset=9, text="stays here", started_at=START + 9 * DAY_MS)])
    for version in versions():
        await store.upsert_batch([version])
    assert SECRET.encode() in await contents(kind, url, tmp_path)
    match way:
        case "delete":
            assert await store.delete("r-1") is Deletion.DELETED
        case "tombstone":
            await store.upsert_batch([tombstone("r-1", offset=4)])
        case _:
            await store.prune(older_than=START + DAY_MS, channel=lambda _: True, dry_run=False)
    left = await contents(kind, url, tmp_path)
    assert SECRET.encode() not in left
    assert b"stays here" in left


@pytest.mark.parametrize("kind", OBJECTS, indirect=True)
@pytest.mark.parametrize("way", ["delete", "prune"])
async def test_text_that_a_crash_left_is_erased(kind: str, url: str, tmp_path: Path, way: str) -> None:
    """A process that ends between its steps leaves a version that no pointer names: a snapshot, or an outdone final record."""
    async with opened(url) as store:
        assert isinstance(store, ObjectStore)
        first, second, final = versions()
        await store.upsert_batch([final])
        late = entry("r-1", offset=7, status=Status.ABANDONED, text=SECRET)
        for left in (first, second, late):
            assert left.record is not None
            assert left.value is not None
            await store.bucket.put(record_key(left.record, left.position), left.value)
        assert [item.value for item in (await store.hydrate("chat:1", limit=9)).items] == [final.value]
        if way == "delete":
            assert await store.delete("r-1") is Deletion.DELETED
        else:
            await store.prune(older_than=START + DAY_MS, channel=lambda _: True, dry_run=False)
        assert SECRET.encode() not in await contents(kind, url, tmp_path)


@pytest.mark.parametrize("kind", OBJECTS, indirect=True)
async def test_prune_erases_what_a_crash_left_of_a_deleted_response(kind: str, url: str, tmp_path: Path) -> None:
    (_first, second, final) = versions()
    async with opened(url) as store:
        assert isinstance(store, ObjectStore)
        await store.upsert_batch([final])
        await store.delete("r-1")
        for left in (second, final, entry("never", offset=8, text=SECRET)):
            assert left.record is not None
            assert left.value is not None
            await store.bucket.put(record_key(left.record, left.position), left.value)
        assert (await store.hydrate("chat:1", limit=9)).items == ()
        assert (await store.list_channel("chat:1", limit=9)).items == ()
        await store.prune(older_than=START + DAY_MS, channel=lambda _: True, dry_run=False)
        assert SECRET.encode() in await contents(kind, url, tmp_path)  # its pointer may be on its way
    later = Clock(wall=lambda: Clock().wall() + 7200)
    async with opened(url, later) as store:
        await store.prune(older_than=START + DAY_MS, channel=lambda _: True, dry_run=False)
        assert SECRET.encode() not in await contents(kind, url, tmp_path)


class SlowBucket(Around):
    """Holds back the objects of records until `gate` is set."""

    def __init__(self, url: str) -> None:
        super().__init__(Bucket(url))
        self.gate = asyncio.Event()
        self.held = asyncio.Event()

    async def put(self, key: str, body: bytes | Path) -> None:
        if key.startswith("channel="):
            self.held.set()
            await self.gate.wait()
        await self.inside.put(key, body)


@pytest.mark.parametrize("kind", OBJECTS, indirect=True)
async def test_a_late_write_leaves_no_deleted_text(kind: str, url: str, tmp_path: Path) -> None:
    """An archive that lost its partition writes while its successor has stored the record and the api deleted it."""
    bucket: Any = SlowBucket(url)
    old = ObjectStore(url, clock=Clock(), bucket=bucket)
    first, _second, final = versions()
    async with opened(url) as new:
        await old.upsert_batch([first])
        late = asyncio.create_task(old.upsert_batch([final]))
        await bucket.held.wait()
        await new.upsert_batch([final])
        assert await new.delete("r-1") is Deletion.DELETED
        bucket.gate.set()
        await late
        assert (await new.hydrate("chat:1", limit=9)).items == ()
        assert SECRET.encode() not in await contents(kind, url, tmp_path)
    await old.close()
