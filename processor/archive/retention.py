"""Removes responses for the command line: one, or all that are old."""

import re
from dataclasses import replace
from fnmatch import fnmatchcase

from processor.clock import Clock
from processor.errors import Fatal
from processor.ports.deletion import delete_everywhere
from processor.ports.store import STALE_MS, Deletion, Progress, PruneReport, ResponseStore, Tombstones

_AGE = re.compile(r"(\d+)\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class NotDeletable(Fatal):
    """The response is not there, or has not finished."""


def read_age(text: str) -> int:
    """Seconds, of `30d`, `12h`, `90m`, `45s`, `2w`. Raises ValueError, a sentence."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'an age is a number and a unit, as 30d, 12h or 2w, not "{text}"')
    return int(match[1]) * _SECONDS[match[2]]


async def prune(
    store: ResponseStore,
    *,
    older_than_seconds: int,
    channel_pattern: str = "*",
    dry_run: bool = False,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> PruneReport:
    """Delete what last changed longer ago, on channels that match the pattern (`*` and `?` as in file names).

    The log keeps its own copy until its retention ends, a week; what was pruned does not come back from it.
    """
    return await store.prune(
        older_than=(clock or Clock()).wall_ms() - older_than_seconds * 1000,
        channel=lambda name: fnmatchcase(name, channel_pattern),
        dry_run=dry_run,
        progress=progress,
    )


async def delete_response(
    store: ResponseStore,
    tombstones: Tombstones,
    response_id: str,
    *,
    force: bool = False,
    clock: Clock | None = None,
) -> None:
    """As `DELETE /v1/responses/{id}`: the tombstone, then the store; with `force` an open response too, whatever its
    age.

    Raises NotDeletable, KafkaUnavailable, StoreUnavailable.
    """
    stored = await store.summary(response_id)
    if stored is None:
        raise NotDeletable(f"There is no response {response_id!r} in the store.")
    stale_before = (clock or Clock()).wall_ms() - STALE_MS
    wanted = replace(stored, finished=True) if force else stored
    deletion = await delete_everywhere(store, tombstones, wanted, open_before=stale_before)
    if deletion is Deletion.OPEN:
        raise _still_open(response_id)


def _still_open(response_id: str) -> NotDeletable:
    return NotDeletable(
        f"The response {response_id!r} has not finished. Cancel it, and delete it then; --force deletes it now."
    )
