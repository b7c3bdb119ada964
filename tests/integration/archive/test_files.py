"""What stores make on disk: for its owner alone, and synced before a write returns."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from devtools.stores import opened
from processor.archive.bucket import Bucket, Stored
from processor.archive.directory import LOCK_FILE, STAGED, STAGED_SECONDS
from processor.archive.object_names import pointer_key
from processor.archive.object_pointers import decode_pointer, encode_pointer
from processor.archive.objects import ObjectStore
from processor.clock import Clock
from processor.ports.store import Deletion, Entry
from support.around import Around
from support.records import START, entry, tombstone
from support.stores import new_store_url
from topics.records import Status


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(directory: Path) -> set[str]:
    return {stat.filemode(path.stat().st_mode) for path in directory.rglob("*") if path.name != "lost+found"}


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("kind", ["sqlite", "files"])
async def test_what_is_made_is_for_its_owner_alone(kind: str, tmp_path: Path) -> None:
    async with opened(await new_store_url(kind, tmp_path)) as store:
        await store.upsert_batch([entry("r-1"), entry("open", offset=1, status=Status.STREAMING)])
        assert await store.delete("r-1") is Deletion.DELETED
        made = await asyncio.to_thread(modes, tmp_path)
    assert made <= {"-rw-------", "drwx------"}
    assert "-rw-------" in made


class Synced:
    """What a power failure would leave: of each file and folder, its size or its names as of its last sync."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._held: dict[int, object] = {}
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self.sync)

    def sync(self, handle: int) -> None:
        self._sync(handle)
        state = os.fstat(handle)
        self._held[state.st_ino] = (
            names(Path(f"/proc/self/fd/{handle}")) if stat.S_ISDIR(state.st_mode) else state.st_size
        )

    def lost(self, root: Path) -> list[str]:
        paths = (path for path in (root, *root.rglob("*")) if path.name not in (STAGED, LOCK_FILE))
        return [str(path) for path in paths if self._held.get(path.stat().st_ino) != held_by(path)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {STAGED, LOCK_FILE}


def held_by(path: Path) -> object:
    return names(path) if path.is_dir() else path.stat().st_size


async def test_a_write_returns_when_its_files_and_folders_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await new_store_url("files", tmp_path)
    synced = Synced(monkeypatch)
    writes: tuple[list[Entry], ...] = (
        [entry("r-1"), entry("open", offset=1, status=Status.STREAMING)],
        [entry("open", offset=2)],
        [tombstone("r-1", offset=3)],
    )
    async with opened(url) as store:
        for entries in writes:
            await store.upsert_batch(entries)
            assert await asyncio.to_thread(synced.lost, tmp_path / "objects") == []


async def test_a_start_removes_what_a_crash_left_half_written(tmp_path: Path) -> None:
    url = await new_store_url("files", tmp_path)
    async with opened(url) as store:
        await store.upsert_batch([entry("r-1")])

    def leave() -> tuple[Path, Path]:
        old, new = (tmp_path / "objects" / STAGED / name for name in ("old", "new"))
        for path in (old, new):
            path.write_bytes(b"half")
        at = old.stat().st_mtime - STAGED_SECONDS - 60
        os.utime(old, (at, at))
        return old, new

    old, new = await asyncio.to_thread(leave)
    async with opened(url) as store:
        assert await store.get("r-1") is not None
    assert await asyncio.to_thread(lambda: (old.exists(), new.exists())) == (False, True)


class EndingBucket(Around):
    """When the body of an open response is read, it ends first, and newer ones do."""

    def __init__(self, url: str, ended: ObjectStore) -> None:
        super().__init__(Bucket(url))
        self._ended = ended
        self._happened = False

    async def get(self, key: str) -> Stored | None:
        if key.startswith("open/") and not self._happened:
            self._happened = True
            await self._ended.upsert_batch(
                [
                    entry("r-0", offset=9),
                    *(entry(f"new-{n}", offset=20 + n, started_at=START + 9 + n) for n in range(4)),
                ]
            )
        found: Stored | None = await self.inside.get(key)
        return found


async def test_hydration_has_a_response_whose_object_went_while_it_was_read(tmp_path: Path) -> None:
    url = await new_store_url("files", tmp_path)
    archive = ObjectStore(url, clock=Clock())
    await archive.upsert_batch([entry("r-0", offset=1, status=Status.STREAMING)])
    bucket: Any = EndingBucket(url, archive)
    reader = ObjectStore(url, clock=Clock(), bucket=bucket)
    page = await reader.hydrate("chat:1", limit=3)
    assert [item.response_id for item in page.items] == ["new-3", "new-2", "new-1", "r-0"]
    assert page.items[-1].record.finished


async def test_names_of_an_older_version_are_listed_in_order(tmp_path: Path) -> None:
    """They have 14 digits for the time."""
    async with opened(await new_store_url("files", tmp_path)) as store:
        await store.upsert_batch([entry(f"r-{n}", offset=n, started_at=START + n) for n in range(3)])

        def rename() -> None:
            (path,) = (tmp_path / "objects").glob(f"channel=*/date=*/*{START + 1}.*")
            older = path.with_name(path.name[2:])
            path.rename(older)
            for pointer in (tmp_path / "objects" / "ids").rglob("*.json"):
                pointer.write_text(pointer.read_text().replace(path.name, older.name))

        await asyncio.to_thread(rename)
        items = (await store.list_channel("chat:1", limit=9)).items
        assert [item.response_id for item in items] == ["r-2", "r-1", "r-0"]
        assert await store.delete("r-1") is Deletion.DELETED


class RepairedBucket(Around):
    """After the pointer was read once, another process writes the record by force."""

    def __init__(self, url: str, other: ObjectStore, repaired: Entry) -> None:
        super().__init__(Bucket(url))
        self._other = other
        self._repaired = repaired
        self._happened = False

    async def get(self, key: str) -> Stored | None:
        stored: Stored | None = await self.inside.get(key)
        if key == pointer_key("r-1") and not self._happened:
            self._happened = True
            await self._other.upsert_batch([self._repaired], force=True)
        return stored


async def test_a_record_that_a_repair_has_made_current_is_not_removed(tmp_path: Path) -> None:
    url = await new_store_url("files", tmp_path)
    other = ObjectStore(url, clock=Clock())
    await other.upsert_batch([entry("r-1", offset=9)])
    earlier = entry("r-1", offset=4, text="repaired")
    bucket: Any = RepairedBucket(url, other, earlier)
    store = ObjectStore(url, clock=Clock(), bucket=bucket)
    await store.upsert_batch([earlier])
    stored = await other.get("r-1")
    assert stored is not None
    assert stored.value == earlier.value


async def test_a_pointer_without_a_time_is_as_old_as_its_object(tmp_path: Path) -> None:
    url = await new_store_url("files", tmp_path)
    store = ObjectStore(url, clock=Clock())
    await store.upsert_batch([entry("r-1", status=Status.STREAMING)])
    old = await store.bucket.get(pointer_key("r-1"))
    assert old is not None
    await store.bucket.put(pointer_key("r-1"), encode_pointer(replace(decode_pointer(old.body), stored_at=0)))
    written = await store.bucket.get(pointer_key("r-1"))
    stored = await store.summary("r-1")
    assert stored is not None
    assert written is not None
    assert stored.stored_at == written.written_at > 0
