"""What every store of the archive promises, held against each of them, and against the simulation's."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devtools.stores import opened
from processor.errors import StoreRefused
from processor.ports.store import Entry, Position
from support.kept_entries import InSimulation, InStore, KeptEntries
from support.records import START, entry, record, tombstone
from support.stores import KINDS, new_store_url
from topics.codec import encode_response
from topics.records import Status

TEXTS = (
    "",
    "NUL \x00 in the middle \x00",
    "four bytes 😀𝒳 and a tie 👩‍👩‍👧",
    "\u2028\u2029\ufeff\uffff",
    '{"json":"in a string"} \\u0000 ,"kafka":{"partition":1}}',
)


@pytest.fixture(params=("simulation", *KINDS))
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeptEntries]:
    if request.param == "simulation":
        yield InSimulation()
        return
    async with opened(await new_store_url(request.param, tmp_path)) as store:
        yield InStore(store)


async def test_a_record_comes_back_byte_for_byte(kept: KeptEntries) -> None:
    put = entry("r-1", partition=3, offset=17, metadata={"model": "m", "n": 1.50})
    await kept.store.upsert_batch([put])
    got = await kept.get("r-1")
    assert got is not None
    assert got.value == put.value
    assert got.position == Position(3, 17)
    assert got.record == put.record
    assert await kept.get("r-2") is None


async def test_fields_of_a_later_program_are_kept(kept: KeptEntries) -> None:
    value = encode_response(record("r-1"))[:-1] + b',"extra":{"kafka":[1]}}'
    await kept.store.upsert_batch([Entry.of(Position(0, 0), value)])
    got = await kept.get("r-1")
    assert got is not None
    assert got.value == value


@pytest.mark.parametrize("text", TEXTS)
async def test_any_text_is_kept_exactly(kept: KeptEntries, text: str) -> None:
    await kept.store.upsert_batch([entry("r-1", text=text)])
    got = await kept.get("r-1")
    assert got is not None
    assert got.record.text == text


async def test_the_newest_record_stands_whatever_the_order_of_arrival(kept: KeptEntries) -> None:
    versions = [
        entry("r-1", offset=5, status=Status.STREAMING, text="a"),
        entry("r-1", offset=9, status=Status.STREAMING, text="ab"),
        entry("r-1", offset=12, status=Status.COMPLETE, text="abc"),
    ]
    shuffled = random.Random(7)
    for _ in range(6):
        shuffled.shuffle(versions)
        for version in versions:
            await kept.store.upsert_batch([version])
    got = await kept.get("r-1")
    assert got is not None
    assert got.record.text == "abc"


async def test_no_snapshot_replaces_a_finished_record_even_with_a_higher_offset(kept: KeptEntries) -> None:
    await kept.store.upsert_batch([entry("r-1", offset=12, text="whole")])
    await kept.store.upsert_batch([entry("r-1", offset=20, status=Status.STREAMING, text="wh")])
    await kept.store.upsert_batch([entry("r-1", offset=10, text="older")])
    got = await kept.get("r-1")
    assert got is not None
    assert (got.record.text, got.position.offset) == ("whole", 12)


async def test_of_two_partitions_the_finished_record_wins(kept: KeptEntries) -> None:
    await kept.store.upsert_batch(
        [entry("r-1", partition=1, offset=900, status=Status.STREAMING, text="par", updated_at=START + 5)]
    )
    await kept.store.upsert_batch(
        [entry("r-1", partition=2, offset=3, status=Status.STREAMING, text="part", updated_at=START + 9)]
    )
    await kept.store.upsert_batch(
        [entry("r-1", partition=1, offset=901, status=Status.STREAMING, text="pa", updated_at=START + 6)]
    )
    got = await kept.get("r-1")
    assert got is not None
    assert got.record.text == "part"
    await kept.store.upsert_batch([entry("r-1", partition=2, offset=4, text="partition")])
    await kept.store.upsert_batch([entry("r-1", partition=1, offset=999, text="another")])
    got = await kept.get("r-1")
    assert got is not None
    assert got.record.text == "partition"


async def test_a_tombstone_deletes_for_good(kept: KeptEntries) -> None:
    await kept.store.upsert_batch([entry("r-1", offset=5), entry("r-2", offset=6)])
    await kept.store.upsert_batch([tombstone("r-1", offset=8)])
    assert await kept.get("r-1") is None
    assert await kept.ids() == ["r-2"]
    await kept.store.upsert_batch([entry("r-1", offset=5)])
    await kept.store.upsert_batch([entry("r-1", offset=9, status=Status.STREAMING)])
    await kept.store.upsert_batch([entry("r-1", partition=4, offset=100)])
    assert await kept.get("r-1") is None
    assert await kept.ids() == ["r-2"]


async def test_all_there_is_is_hydrated(kept: KeptEntries) -> None:
    running = entry("open", offset=1, status=Status.STREAMING)
    await kept.store.upsert_batch(
        [running, entry("done", offset=2), entry("gone", offset=3), entry("gone too", offset=4)]
    )
    await kept.store.upsert_batch([tombstone("gone", offset=5)])
    await kept.remove("gone too")
    assert await kept.hydrate() == {"open", "done"}
    await kept.store.upsert_batch([entry("gone too", offset=6)])
    assert await kept.hydrate() == {"open", "done"}


async def test_what_no_store_can_order_or_look_up_is_refused(kept: KeptEntries) -> None:
    for bad in (entry("r\0"), entry("r-1", channel="c" * 1025), entry("r-2", started_at=2**53)):
        with pytest.raises(StoreRefused):
            await kept.store.upsert_batch([bad])
    assert await kept.hydrate() == set()
