"""What every store promises, held against each of them: real files, a real PostgreSQL, a real S3 protocol."""

import random

import pytest

from devtools.stores import opened
from processor.clock import Clock
from processor.errors import StoreRefused
from processor.ports.store import Deletion, Position, ResponseStore
from support.records import DAY_MS, START, entry, tombstone
from support.stores import ids, rounds_for
from topics.records import Status

HOSTILE = (
    "../../etc/passwd",
    "..",
    ".",
    "a/b//c/",
    "%2f%2e%2e",
    "'; DROP TABLE responses; --",
    'quo"te\\back',
    "new\nline\ttab\x7f",
    "😀" * 64,
    "Ünï-cødé\u0301",
    "U\u0308",
    "\u00dc",
    " leading and trailing ",
    "case",
    "CASE",
    "*?[]{}~!$",
    "nul.txt",
    "x" * 256,
)


async def test_four_megabytes_of_text_are_kept(store: ResponseStore) -> None:
    text = "".join(random.Random(1).choices("abc😀\n", k=1_600_000))
    await store.upsert_batch([entry("r-1", text=text)])
    got = await store.get("r-1")
    assert got is not None
    assert got.record.text == text


async def test_hostile_ids_and_channels_are_found_again_and_never_mixed_up(store: ResponseStore) -> None:
    await store.upsert_batch([entry(name, channel=name, offset=n, text=f"text {n}") for n, name in enumerate(HOSTILE)])
    for n, name in enumerate(HOSTILE):
        got = await store.get(name)
        assert got is not None
        assert got.record.text == f"text {n}"
        assert await ids(store, name) == [name]
        assert [item.response_id for item in (await store.hydrate(name, limit=5)).items] == [name]
    assert await ids(store, "chat:1") == []


async def test_a_name_no_store_can_look_up_is_refused_and_harms_no_neighbour(store: ResponseStore) -> None:
    for bad in (
        entry("r\0", offset=1),
        entry("r-2", channel="c\0", offset=2),
        entry("r-3", channel="c" * 1025, offset=3),
    ):
        with pytest.raises(StoreRefused):
            await store.upsert_batch([bad])
    assert await store.get("r\0") is None
    assert (await store.list_channel("c\0", limit=1)).items == ()
    assert await store.delete("r\0") is Deletion.MISSING
    await store.upsert_batch([entry("r-4", offset=4)])
    assert await ids(store) == ["r-4"]


async def test_a_batch_of_many_is_stored_whole(store: ResponseStore, url: str) -> None:
    many = rounds_for(url, 520, on_s3=210)
    await store.upsert_batch([entry(f"r-{n}", offset=n) for n in range(many)])
    seen = [held async for held in store.held([f"r-{n}" for n in range(many)])]
    assert len(seen) == many


async def test_a_forced_record_replaces_anything_but_a_deletion(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1", partition=1, offset=12, text="other"), tombstone("r-2", offset=9)])
    await store.upsert_batch([entry("r-1", partition=0, offset=3, text="whole"), entry("r-2", offset=3)], force=True)
    got = await store.get("r-1")
    assert got is not None
    assert (got.record.text, got.position) == ("whole", Position(0, 3))
    assert await store.get("r-2") is None


async def test_a_tombstone_ahead_of_its_record_keeps_it_out(store: ResponseStore) -> None:
    await store.upsert_batch([tombstone("r-1", offset=8)])
    await store.upsert_batch([entry("r-1", offset=7)])
    assert await store.get("r-1") is None
    assert [(held.response_id, held.deleted) async for held in store.held(["r-1"])] == [("r-1", True)]


async def test_deleting_removes_finished_responses_only(store: ResponseStore) -> None:
    await store.upsert_batch([entry("done", offset=1), entry("open", offset=2, status=Status.STREAMING)])
    assert await store.delete("open") is Deletion.OPEN
    assert await store.delete("nobody") is Deletion.MISSING
    assert await store.delete("done") is Deletion.DELETED
    assert await store.delete("done") is Deletion.MISSING
    await store.upsert_batch([entry("done", offset=1)])
    assert await ids(store) == ["open"]


async def test_a_finished_record_is_replaced_by_nothing_but_force(store: ResponseStore) -> None:
    whole = entry("r-1", offset=5, text="The whole answer.")
    await store.upsert_batch([whole])
    for late in (
        entry("r-1", offset=9, status=Status.ABANDONED, text=""),
        entry("r-1", partition=1, offset=1, status=Status.ABANDONED, text=""),
        entry("r-1", offset=10, status=Status.STREAMING),
    ):
        await store.upsert_batch([late])
        got = await store.get("r-1")
        assert got is not None
        assert got.value == whole.value
    await store.upsert_batch([entry("r-1", offset=9, text="repaired")], force=True)
    got = await store.get("r-1")
    assert got is not None
    assert got.record.text == "repaired"


@pytest.mark.parametrize("at", [0, 10**14, 1_763_860_000_062_000, 2**53 - 1])
async def test_any_time_that_intake_takes_is_stored_and_listed(store: ResponseStore, at: int) -> None:
    await store.upsert_batch([entry("odd", offset=1, started_at=at, updated_at=at), entry("other", offset=2)])
    assert set(await ids(store)) == {"odd", "other"}
    assert await ids(store) == sorted(["odd", "other"], key=lambda name: at if name == "odd" else START, reverse=True)
    first = await store.list_channel("chat:1", limit=1)
    second = await store.list_channel("chat:1", limit=5, before=first.next)
    assert {item.response_id for item in (*first.items, *second.items)} == {"odd", "other"}
    assert await store.delete("odd") is Deletion.DELETED


async def test_an_open_response_is_deleted_only_when_asked_for(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1", status=Status.STREAMING)])
    assert await store.delete("r-1") is Deletion.OPEN
    assert await store.delete("r-1", even_open=True) is Deletion.DELETED
    assert await store.delete("r-1", even_open=True) is Deletion.MISSING
    assert await store.get("r-1") is None


@pytest.mark.parametrize("ts", [0, START // 1000, 2**53 - 1])
async def test_a_record_is_as_old_as_the_store_s_copy_whatever_its_own_times_are(url: str, ts: int) -> None:
    now = [float(START)]
    async with opened(url, Clock(wall=lambda: now[0] / 1000)) as store:
        await store.upsert_batch([entry("r-1", offset=3, status=Status.STREAMING, started_at=ts, updated_at=ts)])
        now[0] += 5_000
        await store.upsert_batch([entry("r-1", offset=3, status=Status.STREAMING, started_at=ts, updated_at=ts)])
        assert (await stored_at(store, "r-1")) == START
        await store.upsert_batch([entry("r-1", offset=4, status=Status.STREAMING, started_at=ts, updated_at=ts)])
        assert (await stored_at(store, "r-1")) == START + 5_000


async def stored_at(store: ResponseStore, response_id: str) -> int:
    summary = await store.summary(response_id)
    assert summary is not None
    return summary.stored_at


async def test_a_summary_is_of_the_stored_record(store: ResponseStore) -> None:
    running, done = entry("r-1", partition=2, offset=3, status=Status.STREAMING), entry("r-2", offset=4, text="x" * 99)
    await store.upsert_batch([running, done])
    summaries = [await store.summary(one.response_id) for one in (running, done)]
    expected = [(one.position, one.response_id, "chat:1", len(one.value or b"")) for one in (running, done)]
    assert [one and (one.position, one.response_id, one.channel, one.size) for one in summaries] == expected
    assert [one and one.finished for one in summaries] == [False, True]
    await store.delete("r-2")
    for name in ("r-2", "nobody", "r\0", "\ud800"):
        assert await store.summary(name) is None


async def test_pruning_keeps_open_responses(store: ResponseStore) -> None:
    await store.upsert_batch([entry("open", status=Status.STREAMING), entry("done", offset=1)])
    report = await store.prune(older_than=START + DAY_MS, channel=lambda _: True, dry_run=False)
    assert report.responses == 1
    await store.upsert_batch([entry("open", offset=5)])
    assert await ids(store) == ["open"]


async def test_what_is_held_is_told_with_its_hash(store: ResponseStore) -> None:
    await store.upsert_batch([entry("done", offset=1), entry("open", offset=2, status=Status.STREAMING)])
    got = await store.get("done")
    assert got is not None
    held = {one.response_id: one async for one in store.held(["done", "open", "nobody", "a\0"])}
    assert set(held) == {"done", "open"}
    assert held["done"].sha256 == got.sha256
    assert (held["done"].finished, held["open"].finished) == (True, False)


async def test_iterating_gives_every_finished_response_once(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n, started_at=START + n * 1000) for n in range(130)])
    await store.upsert_batch([entry("open", offset=500, status=Status.STREAMING)])
    assert sorted([item.response_id async for item in store.iterate()]) == sorted(f"r-{n}" for n in range(130))
    since = START + 120 * 1000 + 1000
    assert sorted([item.response_id async for item in store.iterate(since=since)]) == [
        f"r-{n}" for n in range(120, 130)
    ]


async def test_pruning_deletes_what_is_old_in_the_channels_named(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"old-{n}", offset=n) for n in range(3)])
    await store.upsert_batch(
        [entry("other", channel="keep:1", offset=5), entry("young", offset=6, started_at=START + DAY_MS)]
    )
    steps: list[tuple[int, int | None]] = []
    older = START + DAY_MS // 2
    told = await store.prune(older_than=older, channel=lambda name: name.startswith("chat:"), dry_run=True)
    assert (told.responses, told.bytes > 0) == (3, True)
    assert await ids(store) == ["young", "old-2", "old-1", "old-0"]
    done = await store.prune(
        older_than=older,
        channel=lambda name: name.startswith("chat:"),
        dry_run=False,
        progress=lambda *step: steps.append(step),
    )
    assert done == told
    assert sum(step[0] for step in steps) == 3
    assert await ids(store) == ["young"]
    assert await ids(store, "keep:1") == ["other"]
    await store.upsert_batch([entry("old-1", offset=1)])
    assert await store.get("old-1") is None


async def test_deletions_are_forgotten_after_the_log_has_forgotten_the_record(url: str) -> None:
    now = [START / 1000]
    async with opened(url, Clock(wall=lambda: now[0])) as store:
        await store.upsert_batch([tombstone("r-1", offset=1)])
        now[0] += 13 * 86_400
        await store.prune(older_than=START, channel=lambda _: True, dry_run=False)
        assert [held.deleted async for held in store.held(["r-1"])] == [True]
        now[0] += 2 * 86_400
        await store.prune(older_than=START, channel=lambda _: True, dry_run=False)
        assert [held async for held in store.held(["r-1"])] == []


async def test_everything_is_there_after_the_process_ends(url: str) -> None:
    async with opened(url) as store:
        await store.upsert_batch([entry("r-1", offset=1), entry("r-2", offset=2)])
        await store.delete("r-2")
    async with opened(url) as store:
        assert await ids(store) == ["r-1"]
        await store.upsert_batch([entry("r-2", offset=2)])
        assert await ids(store) == ["r-1"]
