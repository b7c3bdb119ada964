"""Finished days as Parquet, beside the objects they were made from."""

import asyncio
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from processor.archive.compact import compact
from processor.archive.objects import ObjectStore
from processor.clock import Clock
from processor.ports.store import Deletion
from support.records import START, entry
from support.stores import new_store_url
from topics.records import Status

DAY_MS = 86_400_000


@pytest.fixture
async def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(await new_store_url("files", tmp_path), clock=Clock())


def parquet(directory: Path) -> list[Path]:
    return sorted(directory.glob("objects/parquet/*/*.parquet"))


async def test_a_finished_day_becomes_one_file_with_a_row_a_response(store: ObjectStore, tmp_path: Path) -> None:
    now = Clock(wall=lambda: (START + 2 * DAY_MS) / 1000)
    await store.upsert_batch(
        [entry(f"r-{n}", offset=n, channel=f"c:{n % 3}", started_at=START + n, text=f"NUL \0 {n}") for n in range(7)]
        + [entry("today", offset=8, started_at=START + 2 * DAY_MS), entry("open", offset=9, status=Status.STREAMING)]
    )
    steps: list[int] = []
    report = await compact(store, clock=now, progress=lambda done, _total: steps.append(done))
    assert (report.days, report.responses, steps) == (1, 7, [1])
    (path,) = parquet(tmp_path)
    table = (await asyncio.to_thread(pq.read_table, path, partitioning=None)).to_pylist()
    assert [row["response_id"] for row in table] == [f"r-{n}" for n in range(7)]
    assert table[3]["text"] == "NUL \0 3"
    assert table[3]["channel"] == "c:0"
    assert int(table[3]["started_at"].timestamp() * 1000) == START + 3

    assert (await compact(store, clock=now)).unchanged_days == 1
    await store.upsert_batch([entry("late", offset=20, started_at=START + 9)])
    assert (await compact(store, clock=now)).responses == 8
    assert len(parquet(tmp_path)) == 1


async def test_a_deleted_response_leaves_the_parquet_too(store: ObjectStore, tmp_path: Path) -> None:
    now = Clock(wall=lambda: (START + 2 * DAY_MS) / 1000)
    await store.upsert_batch([entry("r-1", text="erase me"), entry("r-2", offset=1)])
    await compact(store, clock=now)
    assert await store.delete("r-1") is Deletion.DELETED
    files = [path for path in await asyncio.to_thread(lambda: [*tmp_path.rglob("*")]) if path.is_file()]
    assert not any(b"erase me" in path.read_bytes() for path in files)
    assert parquet(tmp_path) == []
    assert (await compact(store, clock=now)).responses == 1
