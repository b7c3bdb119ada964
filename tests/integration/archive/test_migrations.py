"""Schemas: created, migrated, and refused with the command that corrects them."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from devtools.stores import opened
from processor.archive.sql import SqlStore
from processor.clock import Clock
from processor.errors import SchemaOutdated, SettingsError, StoreUnavailable
from support.records import entry
from support.stores import new_store_url
from topics.records import Status


async def change_revision(store: SqlStore, revision: str) -> None:
    async with store._write() as connection:
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))


async def test_an_empty_postgresql_is_made_by_itself_and_migrating_again_changes_nothing(tmp_path: Path) -> None:
    url = await new_store_url("postgres", tmp_path)
    async with opened(url) as store:
        assert isinstance(store, SqlStore)
        before, after = await store.migrate()
        assert before == after == "0002"
        await store.upsert_batch([entry("r-1")])


async def test_an_older_schema_is_brought_up_to_date_and_its_responses_count_as_stored_now(tmp_path: Path) -> None:
    began = Clock().wall_ms()
    for kind in ("sqlite", "postgres"):
        url = await new_store_url(kind, tmp_path)
        async with opened(url) as store:
            assert isinstance(store, SqlStore)
            await store.upsert_batch([entry("r-1", status=Status.STREAMING)])
            async with store._write() as connection:
                await connection.execute(text("ALTER TABLE responses DROP COLUMN stored_at"))
            await change_revision(store, "0001")
        store = SqlStore(url, clock=Clock())
        if kind == "postgres":
            with pytest.raises(SchemaOutdated, match="archive migrate"):
                await store.start()
            assert await store.migrate() == ("0001", "0002")
        await store.start()
        stored = await store.summary("r-1")
        assert stored is not None
        assert began <= stored.stored_at <= Clock().wall_ms()
        await store.close()


async def test_a_schema_of_a_newer_program_is_refused_in_one_sentence(tmp_path: Path) -> None:
    url = await new_store_url("postgres", tmp_path)
    async with opened(url) as store:
        assert isinstance(store, SqlStore)
        await change_revision(store, "9999")
        with pytest.raises(SchemaOutdated, match=r"9999.*newer tokenstream"):
            await store.start()


async def test_many_processes_may_make_one_schema_at_once(tmp_path: Path) -> None:
    url = await new_store_url("postgres", tmp_path)
    stores = [SqlStore(url, clock=Clock()) for _ in range(4)]
    await asyncio.gather(*(store.start() for store in stores))
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize("url", ["mysql://host/db", "ftp://x", "file://relative/dir", "nonsense"])
def test_a_url_that_names_no_store_is_a_wrong_setting(url: str) -> None:
    from processor.archive.stores import open_store

    with pytest.raises(SettingsError, match="STORE_URL"):
        open_store(url)


@pytest.mark.parametrize("url", ["sqlite:////nonexistent/dir/x.db", "postgresql://nobody@127.0.0.1:1/none"])
async def test_a_store_that_does_not_answer_is_told_as_such_without_its_password(url: str) -> None:
    store = SqlStore(url, clock=Clock())
    with pytest.raises(StoreUnavailable, match="the store did not answer"):
        await store.start()
    await store.close()
