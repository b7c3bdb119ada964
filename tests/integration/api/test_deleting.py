"""Deletions, and callers that leave or do not read."""

import asyncio
import errno
import socket
from pathlib import Path

import orjson
import pytest
from yarl import URL

from devtools.stores import opened
from processor.api.access import Access, fixed_tokens
from processor.api.app import ApiLimits
from processor.clock import Clock
from processor.config.values import read_api_tokens
from processor.ports.store import STALE_MS, ResponseStore
from support.api_server import Api, serving
from support.records import entry
from support.waiting import eventually
from topics.records import Status


async def test_deleting_writes_the_tombstone_to_the_records_partition_and_empties_the_store(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", partition=7, offset=3)])
    assert (await api.delete("r-1"))[0] == 204
    assert api.tombstones.written == [("r-1", 7)]
    assert (await api.ask("/v1/responses/r-1"))[0] == 404
    assert (await api.delete("r-1"))[0] == 404
    await api.store.upsert_batch([entry("r-1", partition=7, offset=3)])
    assert (await api.ask("/v1/responses/r-1"))[0] == 404


@pytest.mark.parametrize("ts", [0, 1_763_860_000, 2**53 - 1])
async def test_an_open_response_is_not_deleted_whatever_times_its_producer_gives(api: Api, ts: int) -> None:
    await api.store.upsert_batch([entry("open", status=Status.STREAMING, started_at=ts, updated_at=ts)])
    status, body, _ = await api.delete("open")
    assert (status, body["error"]["code"]) == (409, "response_open")
    assert api.tombstones.written == []


async def store_long_ago(directory: Path, ts: int = 2**53 - 1) -> None:
    """Into the store of the fixture `store`."""
    long_ago = Clock().wall() - STALE_MS / 1000 - 1
    async with opened(f"sqlite:///{directory}/s.db", Clock(wall=lambda: long_ago)) as before:
        await before.upsert_batch([entry("stale", status=Status.STREAMING, started_at=ts, updated_at=ts)])


async def test_an_open_response_that_no_relay_will_end_is_deleted(api: Api, tmp_path: Path) -> None:
    await store_long_ago(tmp_path)
    assert (await api.delete("stale"))[0] == 204
    assert api.tombstones.written == [("stale", 0)]
    assert (await api.ask("/v1/responses/stale"))[0] == 404


@pytest.mark.parametrize("status", [Status.STREAMING, Status.COMPLETE])
async def test_a_response_that_goes_on_before_its_tombstone_is_kept(api: Api, tmp_path: Path, status: Status) -> None:
    await store_long_ago(tmp_path)

    async def goes_on() -> None:
        await api.store.upsert_batch([entry("stale", offset=9, status=status)])

    api.tombstones.before = goes_on
    status_code, body, _ = await api.delete("stale")
    assert (status_code, body["error"]["code"]) == (409, "response_open")
    assert api.tombstones.written == []
    assert (await api.ask("/v1/responses/stale"))[0] == 200


async def test_what_goes_on_after_its_tombstone_is_deleted_as_the_archive_deletes_it(api: Api, tmp_path: Path) -> None:
    await store_long_ago(tmp_path)
    api.tombstones.held = asyncio.Event()
    deleting = asyncio.create_task(api.delete("stale"))
    await eventually(lambda: api.tombstones.written == [("stale", 0)])
    await api.store.upsert_batch([entry("stale", offset=9, status=Status.STREAMING)])
    api.tombstones.held.set()
    assert (await deleting)[0] == 204
    assert (await api.ask("/v1/responses/stale"))[0] == 404


async def test_a_deletion_that_was_not_acknowledged_is_not_denied(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1")])
    api.tombstones.undetermined = True
    status, body, headers = await api.delete("r-1")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert body["error"]["message"].startswith("It is not known whether the response is deleted")


async def test_nothing_is_deleted_while_the_log_can_not_be_told(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1")])
    api.tombstones.down = True
    status, _, headers = await api.delete("r-1")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert (await api.ask("/v1/responses/r-1"))[0] == 200


async def test_a_deletion_runs_to_its_end_though_its_caller_leaves(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", partition=7, offset=3)])
    api.tombstones.held = asyncio.Event()
    caller = asyncio.create_task(api.delete("r-1"))
    await eventually(lambda: api.tombstones.written == [("r-1", 7)])
    caller.cancel()
    await asyncio.wait({caller})
    await api.http.close()
    assert await api.store.get("r-1") is not None
    api.tombstones.held.set()

    async def deleted() -> bool:
        return await api.store.get("r-1") is None

    await eventually(deleted)


async def test_deletions_that_wait_for_kafka_take_no_memory_from_readers(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n) for n in range(12)])
    async with serving(store, limits=ApiLimits(buffered_bytes=1)) as api, asyncio.TaskGroup() as tasks:
        api.tombstones.held = asyncio.Event()
        deleting = [tasks.create_task(api.delete(f"r-{n}")) for n in range(9)]
        await eventually(lambda: len(api.tombstones.written) == 9)
        assert (await api.ask("/v1/channels/chat:1/hydrate"))[0] == 200
        api.tombstones.held.set()
    assert [task.result()[0] for task in deleting] == [204] * 9


async def test_what_needs_no_record_is_answered_while_the_answers_take_all_memory(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1"), entry("large", offset=1, text="x" * 8_000_000)])
    access = Access(open=False, tokens=fixed_tokens(*read_api_tokens("anything=*")))
    limits = ApiLimits(buffered_bytes=1, write_seconds=60)
    async with serving(store, access, limits=limits) as api:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            client.connect(("127.0.0.1", URL(api.url).port))
            client.sendall(b"GET /v1/responses/large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer anything\r\n\r\n")
            await asyncio.to_thread(client.recv, 1)
            assert (await api.ask("/v1/openapi.json", Authorization="Bearer anything"))[0] == 200
            assert (await api.ask("/v1/responses/r-1"))[0] == 401
            assert (await api.ask("/v1/responses/nobody", Authorization="Bearer anything"))[0] == 404
            assert (await api.ask("/v1/responses/r-1", Authorization="Bearer anything"))[0] == 503
            assert (await api.delete("r-1"))[0] == 204


async def test_callers_that_leave_at_any_moment_leave_nothing_behind(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n, text="x" * 300_000) for n in range(20)])
    async with serving(store, limits=ApiLimits(buffered_bytes=1, requests=100)) as api:
        for number in range(60):
            caller = asyncio.create_task(api.ask("/v1/channels/chat:1/hydrate"))
            await asyncio.wait({caller}, timeout=number / 2_000)
            caller.cancel()
            await asyncio.wait({caller})
        # Each request takes the whole budget: a share that was not given back would be missed.
        status, body, _ = await api.ask("/v1/channels/chat:1/hydrate")
        assert (status, len(body["items"])) == (200, 10)


async def test_a_client_that_reads_nothing_loses_its_connection(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n, text="x" * 1_000_000) for n in range(3)])
    async with serving(store, limits=ApiLimits(write_seconds=0.3)) as api:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            client.connect(("127.0.0.1", URL(api.url).port))
            client.sendall(b"GET /v1/channels/chat:1/hydrate HTTP/1.1\r\nHost: x\r\n\r\n")

            def ended() -> bool:
                """Returns True if the server has reset the connection. The system reports that without reading a byte."""
                return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

            await eventually(ended)


async def test_a_client_that_reads_slowly_gets_the_whole_answer(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n, text="x" * 1_000_000) for n in range(3)])
    async with serving(store, limits=ApiLimits(write_seconds=5)) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(api.url).port, limit=16_384)
        writer.write(b"GET /v1/channels/chat:1/hydrate HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received = bytearray()
        while piece := await reader.read(100_000):
            received += piece
            await asyncio.sleep(0)
        assert len(orjson.loads(received)["items"]) == 3
        writer.close()


async def test_a_server_that_stops_ends_what_it_began_to_delete(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1")])
    async with serving(store) as api:
        api.tombstones.held = asyncio.Event()
        caller = asyncio.create_task(api.delete("r-1"))
        await eventually(lambda: api.tombstones.written == [("r-1", 0)])
        caller.cancel()
        await asyncio.wait({caller})
        asyncio.get_running_loop().call_later(0.1, api.tombstones.held.set)
    assert await store.get("r-1") is None
