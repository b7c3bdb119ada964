"""What every store promises to callers that leave, and to several processes that write."""

import asyncio
import gc
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from devtools.stores import opened
from processor.ports.store import ResponseStore
from support.records import DAY_MS, START, entry, tombstone
from support.stores import ids, rounds_for
from topics.records import Status


async def cancel_midway(work: Coroutine[Any, Any, object], seconds: float) -> None:
    task = asyncio.create_task(work)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def begin(store: ResponseStore, operation: str, n: int, held: int) -> object:
    match operation:
        case "upsert":
            await store.upsert_batch([entry(f"u-{n}", offset=100 + n)])
            return None
        case "delete":
            return await store.delete(f"r-{n}")
        case "prune":
            return await store.prune(older_than=START + DAY_MS, channel=lambda _: True, dry_run=False)
        case "tombstone":
            await store.upsert_batch([tombstone(f"r-{n}", offset=100 + n)])
            return None
        case "repair":
            await store.upsert_batch([entry(f"r-{n}", offset=100 + n)], force=True)
            return None
        case "get":
            return await store.get(f"r-{n}")
        case "summary":
            return await store.summary(f"r-{n}")
        case "iterate":
            return [one.response_id async for one in store.iterate()]
        case "ping":
            await store.ping()
            return None
        case "list":
            return await store.list_channel("chat:1", limit=9)
        case "hydrate":
            return await store.hydrate("chat:1", limit=9)
        case _:
            return [one async for one in store.held([f"r-{n}" for n in range(held)])]


OPERATIONS = (
    *("upsert", "tombstone", "repair", "delete", "prune"),
    *("get", "summary", "list", "hydrate", "held", "iterate", "ping"),
)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_cancelled_operation_blocks_nobody(url: str, operation: str) -> None:
    chance = random.Random(operation)
    async with opened(url) as api, opened(url) as archive:
        rounds = rounds_for(url, 40, on_s3=12)
        longest = rounds_for(url, 8, on_s3=24) / 1000  # seconds; an operation on S3 is several requests
        await archive.upsert_batch([entry(f"r-{n}", offset=n) for n in range(rounds)])

        gc.disable()  # processes collect seldom, and a lock must not last until then
        try:
            for n in range(rounds):
                await cancel_midway(begin(api, operation, n, rounds), (n + chance.random()) / rounds * longest)
                async with asyncio.timeout(10):  # a locked SQLite answers after 30 seconds
                    await archive.upsert_batch([entry(f"o-{n}", offset=200 + n, started_at=START + 9 * DAY_MS)])
        finally:
            gc.enable()
        assert await archive.get(f"o-{rounds - 1}") is not None


async def test_a_write_whose_caller_left_is_finished(url: str) -> None:
    async with opened(url) as store:
        await store.upsert_batch([entry(f"d-{n}", offset=n) for n in range(20)])
        for n in range(20):
            for work in (store.upsert_batch([entry(f"r-{n}", offset=n)]), store.delete(f"d-{n}")):
                await cancel_midway(work, 0)
    async with opened(url) as store:
        assert set(await ids(store)) == {f"r-{n}" for n in range(20)}


async def test_hydration_has_every_response_that_ends_while_it_is_read(url: str) -> None:
    async with opened(url) as api, opened(url) as archive:
        rounds = rounds_for(url, 40, on_s3=20)
        present: set[str] = set()
        done = False
        missed: list[set[str]] = []

        async def end_many() -> None:
            nonlocal done
            for n in range(rounds):
                await archive.upsert_batch([entry(f"r{n}", offset=2 * n, status=Status.STREAMING)])
                present.add(f"r{n}")
                await asyncio.sleep(0)
                await archive.upsert_batch([entry(f"r{n}", offset=2 * n + 1)])
            done = True

        async def hydrate() -> None:
            while not done:
                wanted = set(present)
                missed.append(wanted - {item.response_id for item in (await api.hydrate("chat:1", limit=500)).items})

        await asyncio.gather(end_many(), hydrate(), hydrate())
        assert len(missed) >= rounds
        assert [ids for ids in missed if ids] == []


async def test_two_processes_write_at_the_same_time(url: str) -> None:
    async with opened(url) as one, opened(url) as other:

        async def write(store: ResponseStore, partition: int) -> None:
            for n in range(20):
                await store.upsert_batch([entry(f"r-{partition}-{n}", partition=partition, offset=n)])

        await asyncio.gather(write(one, 0), write(other, 1))
        assert len(await ids(one)) == 40
        await one.ping()
        await other.ping()


async def test_of_versions_written_at_once_the_newest_stands(url: str) -> None:
    versions = [entry("r-1", offset=n, status=Status.STREAMING, text="x" * n) for n in range(12)]
    async with opened(url) as one, opened(url) as other:
        await asyncio.gather(*((one, other)[n % 2].upsert_batch([each]) for n, each in enumerate(versions)))
        got = await one.get("r-1")
        assert got is not None
        assert got.position.offset == 11
        assert [item.position.offset for item in (await other.hydrate("chat:1", limit=1)).items] == [11]
