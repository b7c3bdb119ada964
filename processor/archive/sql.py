"""Stores responses in SQLite or PostgreSQL.

Every write is one transaction, durable when it returns: SQLite runs in WAL mode with `synchronous=FULL`.
Collation never matters: ids are ordered by the bytes of their UTF-8 (`COLLATE "C"`; SQLite's own order).
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, collate, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from processor.archive import schema
from processor.archive.finishing import Finishing
from processor.archive.schema import DELETED, RESPONSES
from processor.archive.sql_engine import Database
from processor.clock import Clock
from processor.ports.store import (
    MARKER_DAYS,
    OPEN_PAGE,
    PAGE_BYTES,
    ChannelFilter,
    Cursor,
    Deletion,
    Entry,
    Held,
    Page,
    Position,
    Progress,
    PruneReport,
    StoredResponse,
    Summary,
    check_storable,
    last_changed,
    merge_hydration,
    page_of,
)
from topics.records import Status

CHUNK = 500
"""Ids in one statement; below SQLite's and PostgreSQL's limits on variables."""
DAY_MS = 86_400_000

c = RESPONSES.c


class SqlStore:
    """One engine and its pool. `url` is the setting's: `sqlite:///file.db` or `postgresql://...`."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._clock = clock
        self._database = Database(url)
        self._is_sqlite = self._database.is_sqlite
        self._read, self._write = self._database.read, self._database.write
        # A cancelled SQLite transaction keeps its write lock until its cursors are collected: no write is ever cancelled.
        self._finishing = Finishing()

    def __repr__(self) -> str:
        return f"SqlStore({self._database!r})"

    async def start(self) -> None:
        """SQLite, and any store nothing was made in yet, migrate by themselves; an older PostgreSQL schema raises SchemaOutdated."""
        self._database.prepare()
        await self._finishing.run(self._start())

    async def _start(self) -> None:
        async with self._write() as connection:
            if self._is_sqlite or await connection.run_sync(schema.current_revision) is None:
                await self._upgrade(connection)
            await connection.run_sync(schema.check)

    async def migrate(self) -> tuple[str | None, str]:
        """Bring the schema up to date. Returns the revision before and after."""
        return await self._finishing.run(self._migrate())

    async def _migrate(self) -> tuple[str | None, str]:
        async with self._write() as connection:
            before = await connection.run_sync(schema.current_revision)
            await self._upgrade(connection)
            return before, schema.newest_revision()

    async def _upgrade(self, connection: AsyncConnection) -> None:
        if not self._is_sqlite:  # two processes that start at once take turns
            await connection.execute(select(func.pg_advisory_xact_lock(0x746F6B65)))
        if await connection.run_sync(schema.current_revision) != schema.newest_revision():
            await connection.run_sync(schema.upgrade)

    async def upsert_batch(self, entries: Sequence[Entry], *, force: bool = False) -> None:
        at = self._clock.wall_ms()
        rows = sorted(
            (_row(entry, at) for entry in entries if entry.value is not None), key=lambda row: str(row["response_id"])
        )
        gone = sorted(entry.response_id for entry in entries if entry.value is None)
        await self._finishing.run(self._store(rows, gone, force=force))

    async def _store(self, rows: Sequence[dict[str, object]], gone: Sequence[str], *, force: bool) -> None:
        async with self._write() as connection:
            if rows:
                await connection.execute(self._upsert(force=force), rows)
            if gone:
                await self._mark(connection, gone)
            # Last, in a statement of its own: it sees deletions committed while the upsert waited for a row's lock.
            await self._remove_marked(connection, [*(str(row["response_id"]) for row in rows), *gone])
        if gone:
            await self._database.erase()

    async def _remove_marked(self, connection: AsyncConnection, response_ids: Sequence[str]) -> None:
        for ids in _chunks(response_ids):
            marked = select(DELETED.c.response_id).where(DELETED.c.response_id.in_(ids))
            await connection.execute(delete(RESPONSES).where(c.response_id.in_(marked)))

    async def _mark(self, connection: AsyncConnection, response_ids: Sequence[str]) -> None:
        at = self._clock.wall_ms()
        rows = [{"response_id": response_id, "deleted_at": at} for response_id in response_ids]
        await connection.execute(self._insert(DELETED).on_conflict_do_nothing(), rows)

    def _insert(self, table: Any) -> Any:
        return sqlite.insert(table) if self._is_sqlite else postgresql.insert(table)

    def _upsert(self, *, force: bool) -> Any:
        """The guard of the port (`outdoes`), as one statement."""
        statement = self._insert(RESPONSES)
        new = statement.excluded
        same_partition = new.log_partition == c.log_partition
        later = or_(
            and_(same_partition, new.log_offset > c.log_offset),
            and_(~same_partition, new.updated_at > c.updated_at),
        )
        wins = and_(c.finished == 0, or_(new.finished == 1, later))
        changed = {column.name: new[column.name] for column in RESPONSES.columns if not column.primary_key}
        return statement.on_conflict_do_update(
            index_elements=[c.response_id], set_=changed, where=None if force else wins
        )

    async def get(self, response_id: str) -> StoredResponse | None:
        if _unknowable(response_id):
            return None
        async with self._read() as connection:
            row = (await connection.execute(_stored().where(c.response_id == response_id))).one_or_none()
        return None if row is None else _response(row)

    async def summary(self, response_id: str) -> Summary | None:
        if _unknowable(response_id):
            return None
        columns = (c.log_partition, c.log_offset, c.channel, c.finished, c.size, c.stored_at)
        async with self._read() as connection:
            row = (await connection.execute(select(*columns).where(c.response_id == response_id))).one_or_none()
        if row is None:
            return None
        position = Position(row.log_partition, row.log_offset)
        return Summary(position, response_id, row.channel, bool(row.finished), row.size, row.stored_at)

    async def list_channel(
        self,
        channel: str,
        *,
        limit: int,
        before: str | None = None,
        status: frozenset[Status] | None = None,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        cursor = None if before is None else Cursor.decode(before)
        conditions = [] if cursor is None or cursor.open else [self._before(cursor)]
        if status is not None:
            conditions.append(c.status.in_(sorted(status)))
        if _unknowable(channel):
            return Page((), None)
        async with self._read() as connection:
            return await self._page(connection, channel, conditions, limit, max_bytes)

    async def hydrate(
        self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = PAGE_BYTES
    ) -> Page:
        cursor = None if before is None else Cursor.decode(before)
        if _unknowable(channel):
            return Page((), None)
        finished = [c.finished == 1]
        async with self._read() as connection:
            if cursor is not None and not cursor.open:
                return await self._page(connection, channel, [*finished, self._before(cursor)], limit, max_bytes)
            # In this order, which the port promises: a response that ends in between is in one list or the other.
            conditions = [c.finished == 0] if cursor is None else [c.finished == 0, self._before(cursor)]
            running = await self._page(connection, channel, conditions, OPEN_PAGE, max_bytes, stage_open=True)
            if running.next is not None or not limit:
                return running
            room = max_bytes - sum(len(item.value) for item in running.items)
            least = 0 if running.items else 1
            ended = await self._page(connection, channel, finished, limit, room, least=least)
        if running.items and not ended.items and ended.next is not None:
            return Page(running.items, Cursor.of(running.items[-1], open=True).encode())
        return merge_hydration(running.items, ended)

    async def _page(
        self,
        connection: AsyncConnection,
        channel: str,
        conditions: Iterable[ColumnElement[bool]],
        limit: int,
        max_bytes: int,
        *,
        least: int = 1,
        stage_open: bool = False,
    ) -> Page:
        """Sizes first, so that no more bytes are read than the page takes. With `least=0` it may be empty, with a `next`."""
        wanted = (
            select(c.response_id, c.started_at, c.size)
            .where(c.channel == channel, *conditions)
            .order_by(c.started_at.desc(), self._ordered(c.response_id).desc())
            .limit(limit + 1)
        )
        heads = (await connection.execute(wanted)).all()
        count = page_of([head.size for head in heads], limit, max_bytes, least=least)
        ids = [head.response_id for head in heads[:count]]
        rows = await connection.execute(_stored().where(c.response_id.in_(ids)))
        found = {row.response_id: _response(row) for row in rows}
        # One that was deleted between the two reads is not there any more.
        items = tuple(found[response_id] for response_id in ids if response_id in found)
        if len(heads) <= count or not limit:
            return Page(items, None)
        last = heads[max(0, count - 1)]
        return Page(items, Cursor(last.started_at, last.response_id, stage_open).encode())

    def _before(self, cursor: Cursor) -> ColumnElement[bool]:
        same_time = and_(c.started_at == cursor.started_at, self._ordered(c.response_id) < cursor.response_id)
        return or_(c.started_at < cursor.started_at, same_time)

    def _ordered(self, column: Any) -> Any:
        return column if self._is_sqlite else collate(column, "C")

    async def delete(self, response_id: str, *, even_open: bool = False) -> Deletion:
        if _unknowable(response_id):
            return Deletion.MISSING
        return await self._finishing.run(self._delete(response_id, even_open=even_open))

    async def _delete(self, response_id: str, *, even_open: bool) -> Deletion:
        async with self._write() as connection:
            query = select(c.finished).where(c.response_id == response_id).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return Deletion.MISSING
            if not (row.finished or even_open):
                return Deletion.OPEN
            await self._mark(connection, [response_id])
            await connection.execute(delete(RESPONSES).where(c.response_id == response_id))
        await self._database.erase()
        return Deletion.DELETED

    async def held(self, response_ids: Sequence[str]) -> AsyncIterator[Held]:
        for ids in _chunks([one for one in response_ids if not _unknowable(one)]):
            async with self._read() as connection:
                columns = (c.response_id, c.finished, c.sha256, c.log_partition, c.log_offset, c.changed_at)
                rows = (await connection.execute(select(*columns).where(c.response_id.in_(ids)))).all()
                marks = select(DELETED.c.response_id).where(DELETED.c.response_id.in_(ids))
                deleted = (await connection.execute(marks)).scalars().all()
            for row in rows:
                position = Position(row.log_partition, row.log_offset)
                yield Held(row.response_id, bool(row.finished), False, row.sha256, position, row.changed_at)
            for response_id in deleted:
                yield Held(response_id, finished=True, deleted=True, sha256="")

    async def iterate(self, *, since: int | None = None) -> AsyncIterator[StoredResponse]:
        last = ""
        while True:
            query = _stored().where(c.finished == 1, self._ordered(c.response_id) > last)
            if since is not None:
                query = query.where(c.changed_at >= since)
            async with self._read() as connection:
                rows = (await connection.execute(query.order_by(self._ordered(c.response_id)).limit(50))).all()
            for row in rows:
                yield _response(row)
            if not rows:
                return
            last = rows[-1].response_id

    async def prune(
        self, *, older_than: int, channel: ChannelFilter, dry_run: bool, progress: Progress | None = None
    ) -> PruneReport:
        doomed, size = await self._doomed(older_than, channel)
        if not dry_run:
            for ids in _chunks(doomed):
                await self._finishing.run(self._prune_some(ids, older_than))
                if progress:
                    progress(len(ids), len(doomed))
            await self._finishing.run(self._forget_deletions())
        return PruneReport(len(doomed), size)

    async def _forget_deletions(self) -> None:
        async with self._write() as connection:
            horizon = self._clock.wall_ms() - MARKER_DAYS * DAY_MS
            await connection.execute(delete(DELETED).where(DELETED.c.deleted_at < horizon))
        await self._database.erase()

    async def _doomed(self, older_than: int, channel: ChannelFilter) -> tuple[list[str], int]:
        async with self._read() as connection:
            query = select(c.response_id, c.channel, c.size).where(c.finished == 1, c.changed_at < older_than)
            rows = [row for row in await connection.execute(query) if channel(row.channel)]
        return [row.response_id for row in rows], sum(row.size for row in rows)

    async def _prune_some(self, ids: Sequence[str], older_than: int) -> None:
        """Marks what it deletes: the log may still have it, and a reset of the group's offsets would bring it back."""
        at = self._clock.wall_ms()
        async with self._write() as connection:
            # Read again: one that changed since the list was made stays.
            old_ones = (c.response_id.in_(ids), c.finished == 1, c.changed_at < older_than)
            query = select(c.response_id).where(*old_ones).with_for_update()
            old = [{"response_id": one, "deleted_at": at} for one in (await connection.execute(query)).scalars()]
            if old:
                await connection.execute(self._insert(DELETED).on_conflict_do_nothing(), old)
                await connection.execute(
                    delete(RESPONSES).where(c.response_id.in_([row["response_id"] for row in old]))
                )

    async def count(self) -> int:
        """Of responses, open ones too."""
        async with self._read() as connection:
            return int((await connection.execute(select(func.count()).select_from(RESPONSES))).scalar_one())

    async def ping(self) -> None:
        async with self._read() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        await self._finishing.settle()
        await self._database.close()


def _row(entry: Entry, stored_at: int) -> dict[str, object]:
    record, value = entry.record, entry.value
    assert record is not None
    assert value is not None
    check_storable(record)
    return {
        "response_id": record.response_id,
        "channel": record.channel,
        "status": str(record.status),
        "finished": int(record.finished),
        "log_partition": entry.position.partition,
        "log_offset": entry.position.offset,
        "started_at": record.started_at,
        "updated_at": record.updated_at,
        "changed_at": last_changed(record),
        "stored_at": stored_at,
        "size": len(value),
        "sha256": hashlib.sha256(value).hexdigest(),
        "value": value,
    }


def _stored() -> Select[Any]:
    return select(c.response_id, c.log_partition, c.log_offset, c.value)


def _response(row: Any) -> StoredResponse:
    return StoredResponse(Position(row.log_partition, row.log_offset), row.response_id, bytes(row.value))


def _unknowable(name: str) -> bool:
    """No store ever took it, and PostgreSQL would raise: the answer is that it is not there."""
    return "\0" in name or any("\ud800" <= character <= "\udfff" for character in name)


def _chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
