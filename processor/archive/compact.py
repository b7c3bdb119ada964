"""Writes finished days as Parquet, for analysis: one row per response. The only user of pyarrow.

`parquet/date=<day>/responses-<count>.parquet` is in the same bucket. The objects remain, because the API reads them.
A day is written again when its count of responses has changed; deleting a response removes its day's file at once.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from processor.archive.object_names import Named, day_of
from processor.archive.objects import ObjectStore
from processor.clock import Clock
from processor.ports.store import Progress, StoredResponse

ROW_GROUP = 200
SETTLED_MS = 2 * 3_600_000
"""After a day's end, until the responses begun in it have ended and are archived."""

_MS = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("response_id", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("error", pa.string()),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("parts", pa.large_string(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("gaps", pa.string(), nullable=False),
        pa.field("metadata", pa.string()),
        pa.field("usage", pa.string()),
        pa.field("started_at", _MS, nullable=False),
        pa.field("first_token_at", _MS),
        pa.field("finished_at", _MS),
    ]
)
"""Objects (`metadata`, `usage`, `error`, `parts`, `gaps`) are JSON text: their shape is the producers'."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    days: int
    responses: int
    unchanged_days: int


async def compact(store: ObjectStore, *, clock: Clock | None = None, progress: Progress | None = None) -> CompactReport:
    """Every day that has ended, at least two hours ago. `progress` counts days. Raises StoreUnavailable; run again, it goes on."""
    before = day_of((clock or Clock()).wall_ms() - SETTLED_MS)
    prefixes: dict[str, list[str]] = defaultdict(list)
    for prefix in await store.listing.day_prefixes():
        day = prefix.rstrip("/").rpartition("date=")[2]
        if day < before:
            prefixes[day].append(prefix)
    made = rows = 0
    for day in sorted(prefixes):
        count = await _compact_day(store, day, prefixes[day])
        made, rows = made + (count is not None), rows + (count or 0)
        if progress:
            progress(1, len(prefixes))
    return CompactReport(days=made, responses=rows, unchanged_days=len(prefixes) - made)


async def _compact_day(store: ObjectStore, day: str, prefixes: Sequence[str]) -> int | None:
    """Returns the number of written rows; None if the existing file is current."""
    names = [name for prefix in prefixes for name in await store.listing.names(prefix)]
    folder = f"parquet/date={day}/"
    key = f"{folder}responses-{len(names)}.parquet"
    old = [listed.key async for listed in store.bucket.walk(folder)]
    if key in old:
        return None
    with tempfile.TemporaryDirectory(prefix="tokenstream-compact-") as directory:
        path = Path(directory) / "day.parquet"
        rows = await _write(store, names, path)
        if rows:
            await store.bucket.put(key, path)
    for stale in [*old, key] if await _changed(store, names, prefixes) else old:
        await store.bucket.delete(stale)
    return rows


async def _changed(store: ObjectStore, names: Sequence[Named], prefixes: Sequence[str]) -> bool:
    """Whether a response came or was deleted meanwhile: its text must not stay in a file made from before."""
    now = {name.key for prefix in prefixes for name in await store.listing.names(prefix)}
    return now != {name.key for name in names}


async def _write(store: ObjectStore, names: Sequence[Named], path: Path) -> int:
    """In the order of the day, a group at a time: a day may be larger than memory."""
    ordered = sorted(names, key=lambda name: name.order)
    rows = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for start in range(0, len(ordered), ROW_GROUP):
            found = await store.listing.read(await store.listing.named(ordered[start : start + ROW_GROUP]))
            group = [_row(item) for item in found if item is not None]
            if group:
                await asyncio.to_thread(writer.write_table, pa.Table.from_pylist(group, schema=SCHEMA))
            rows += len(group)
    return rows


def _row(item: StoredResponse) -> dict[str, Any]:
    record = item.record
    parts = [{"part": part.part, "kind": part.kind, "info": part.info, "text": part.text} for part in record.parts]
    return {
        "response_id": record.response_id,
        "channel": record.channel,
        "status": str(record.status),
        "reason": record.reason,
        "error": _json(record.error),
        "text": record.text,
        "parts": _json(parts),
        "tokens": record.tokens,
        "gaps": _json(record.gaps),
        "metadata": _json(record.metadata),
        "usage": _json(record.usage),
        "started_at": record.started_at,
        "first_token_at": record.first_token_at,
        "finished_at": record.finished_at,
    }


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
