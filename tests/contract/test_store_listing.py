"""How every store lists and hydrates a channel, held against each of them."""

import pytest

from processor.ports.store import CursorInvalid, ResponseStore
from support.records import DAY_MS, START, entry
from support.stores import ids
from topics.records import Status


async def test_pages_come_newest_first_and_meet_end_to_end(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n:02}", offset=n, started_at=START + (n // 3) * 1000) for n in range(25)])
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.list_channel("chat:1", limit=4, before=cursor)
        seen += [item.response_id for item in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == sorted((f"r-{n:02}" for n in range(25)), reverse=True)


async def test_what_arrives_between_pages_neither_repeats_nor_hides_others(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n, started_at=START + n * DAY_MS) for n in range(8)])
    first = await store.list_channel("chat:1", limit=3)
    await store.upsert_batch([entry(f"new-{n}", offset=20 + n, started_at=START + (20 + n) * DAY_MS) for n in range(5)])
    await store.delete("r-5")
    second = await store.list_channel("chat:1", limit=100, before=first.next)
    assert [item.response_id for item in first.items] == ["r-7", "r-6", "r-5"]
    assert [item.response_id for item in second.items] == ["r-4", "r-3", "r-2", "r-1", "r-0"]


async def test_a_page_ends_at_its_bytes_and_the_next_goes_on(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n, text="x" * 10_000, started_at=START + n) for n in range(5)])
    page = await store.list_channel("chat:1", limit=100, max_bytes=25_000)
    assert [item.response_id for item in page.items] == ["r-4", "r-3"]
    page = await store.list_channel("chat:1", limit=100, max_bytes=5, before=page.next)
    assert [item.response_id for item in page.items] == ["r-2"]
    assert page.next is not None


async def test_a_listing_is_filtered_by_status(store: ResponseStore) -> None:
    statuses = list(Status)
    await store.upsert_batch(
        [entry(f"r-{n}", offset=n, status=statuses[n % 5], started_at=START + n) for n in range(15)]
    )
    page = await store.list_channel("chat:1", limit=4, status=frozenset({Status.FAILED, Status.STREAMING}))
    rest = await store.list_channel(
        "chat:1", limit=4, status=frozenset({Status.FAILED, Status.STREAMING}), before=page.next
    )
    assert [item.response_id for item in (*page.items, *rest.items)] == ["r-12", "r-10", "r-7", "r-5", "r-2", "r-0"]
    assert rest.next is None


@pytest.mark.parametrize("cursor", ["", "%", "bm9uZQ", "W10", "WzEsMl0", "Wy0xLCJhIl0", "a" * 5000, "😀"])
async def test_a_forged_cursor_is_told_as_such(store: ResponseStore, cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        await store.list_channel("chat:1", limit=4, before=cursor)


async def test_hydration_has_every_open_response_and_the_newest_finished(store: ResponseStore) -> None:
    entries = [entry(f"done-{n}", offset=n, started_at=START + n) for n in range(10)]
    entries += [
        entry(f"open-{n}", offset=20 + n, status=Status.STREAMING, started_at=START + n * 2 - 1) for n in range(3)
    ]
    entries += [entry("elsewhere", channel="chat:2", offset=30, status=Status.STREAMING)]
    await store.upsert_batch(entries)
    page = await store.hydrate("chat:1", limit=3)
    assert [item.response_id for item in page.items] == ["done-9", "done-8", "done-7", "open-2", "open-1", "open-0"]
    rest = await store.list_channel("chat:1", limit=100, before=page.next)
    assert {f"done-{n}" for n in range(7)} <= {item.response_id for item in rest.items}


async def test_a_response_that_ends_leaves_the_open_ones(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1", offset=1, status=Status.STREAMING)])
    await store.upsert_batch([entry("r-1", offset=2)])
    page = await store.hydrate("chat:1", limit=3)
    assert [(item.response_id, item.record.finished) for item in page.items] == [("r-1", True)]
    assert await ids(store) == ["r-1"]


async def hydrated(store: ResponseStore, *, limit: int, max_bytes: int) -> list[list[str]]:
    """The ids of each page, by following `next` until the finished ones are complete."""
    pages: list[list[str]] = []
    before: str | None = None
    finished = 0
    while True:
        page = await store.hydrate("chat:1", limit=limit - finished, before=before, max_bytes=max_bytes)
        pages.append([item.response_id for item in page.items])
        finished += sum(item.record.finished for item in page.items)
        before = page.next
        if before is None or finished >= limit:
            return pages


async def test_hydration_without_finished_ones_has_the_open_ones(store: ResponseStore) -> None:
    await store.upsert_batch([entry("done", offset=1), entry("open", offset=2, status=Status.STREAMING)])
    page = await store.hydrate("chat:1", limit=0)
    assert [item.response_id for item in page.items] == ["open"]


async def test_pages_of_hydration_give_open_responses_first(store: ResponseStore) -> None:
    opens = [entry(f"open-{n}", offset=n, status=Status.STREAMING, started_at=START + n) for n in range(5)]
    await store.upsert_batch([*opens, *(entry(f"done-{n}", offset=9 + n, started_at=START + 9 + n) for n in range(4))])
    pages = await hydrated(store, limit=3, max_bytes=1)
    assert pages == [[f"open-{n}"] for n in (4, 3, 2, 1, 0)] + [["done-3"], ["done-2"], ["done-1"]]


async def test_a_page_of_hydration_ends_at_its_bytes(store: ResponseStore) -> None:
    opens = [
        entry(f"open-{n}", offset=n, status=Status.STREAMING, text="x" * 10_000, started_at=START + n) for n in range(3)
    ]
    await store.upsert_batch([*opens, *(entry(f"done-{n}", offset=9 + n, text="x" * 10_000) for n in range(2))])
    pages = await hydrated(store, limit=2, max_bytes=25_000)
    assert pages == [["open-2", "open-1"], ["open-0", "done-1"], ["done-0"]]


async def test_a_cursor_of_open_responses_begins_a_listing(store: ResponseStore) -> None:
    opens = [entry(f"open-{n}", offset=n, status=Status.STREAMING, started_at=START + n) for n in range(2)]
    await store.upsert_batch([*opens, entry("done", offset=5, started_at=START + 9)])
    page = await store.hydrate("chat:1", limit=3, max_bytes=1)
    assert page.next is not None
    rest = await store.list_channel("chat:1", limit=9, before=page.next)
    assert [item.response_id for item in rest.items] == ["done", "open-1", "open-0"]
