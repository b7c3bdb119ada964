"""Names responses in object storage, so that a listing needs only names. Pure.

    channel=<channel>/date=<day it began, UTC>/<startedAt>.<status>.<partition>-<offset>.<id>.json   finished, the
    record's bytes
    open/channel=<channel>/<startedAt>.streaming.<partition>-<offset>.<id>.json                      still open
    ids/<two digits>/<id>.json                    where a response's record is, and the guard of its next version
    deleted/date=<day>/<id>                       which deletions may be forgotten one day
    parquet/date=<day>/responses-<count>.parquet  made by `archive compact`

`startedAt` has 16 digits; 14 if an older version of this program wrote it.
A name is escaped with `!` and two hex digits; letters, digits, `-` and `_` are unchanged. Longer names end in `~` and
a hash.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from processor.ports.store import Position
from topics.records import ResponseRecord, Status

_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")
_LONGEST = 120
_KEPT = 50
LAST_DAY_MS = 253_402_214_400_000
"""The beginning of 9999-12-31, UTC."""
_NAME = re.compile(r"(\d{14,16})\.([a-z]+)\.(\d+)-(\d+)\.([^.]+)\.json")


def escape(name: str) -> str:
    """Another for every name; at most 120 characters that no file system or object store minds."""
    raw = name.encode()
    text = _UNSAFE.sub(lambda match: b"!%02X" % match[0][0], raw).decode()
    return text if len(text) <= _LONGEST else f"{text[:_KEPT]}~{hashlib.sha256(raw).hexdigest()}"


def day_of(at: int) -> str:
    """Returns the day of milliseconds since the epoch, in UTC. Later days than the last one with a name get that name."""
    if at >= LAST_DAY_MS:
        return "9999-12-31"
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def channel_prefix(channel: str) -> str:
    return f"channel={escape(channel)}/"


def open_prefix(channel: str) -> str:
    return f"open/channel={escape(channel)}/"


def pointer_key(escaped_id: str) -> str:
    """Of an id that `escape` was given before. Spread, so that no folder holds all."""
    shard = hashlib.sha256(escaped_id.encode()).hexdigest()[:2]
    return f"ids/{shard}/{escaped_id}.json"


def deleted_key(response_id: str, at: int) -> str:
    return f"deleted/date={day_of(at)}/{escape(response_id)}"


def record_key(record: ResponseRecord, position: Position) -> str:
    """Another for every version of a response: nothing is ever overwritten by something older."""
    name = f"{record.started_at:016d}.{record.status}.{position.partition}-{position.offset}.{escape(record.response_id)}.json"
    if not record.finished:
        return open_prefix(record.channel) + name
    return f"{channel_prefix(record.channel)}date={day_of(record.started_at)}/{name}"


@dataclass(frozen=True, slots=True)
class Named:
    """The fields in the name of a record. `order` is the order of listings."""

    key: str
    started_at: int
    status: Status
    position: Position
    escaped_id: str
    size: int

    @property
    def folder(self) -> str:
        return self.key.rpartition("/")[0]

    @property
    def order(self) -> tuple[int, str]:
        return (self.started_at, self.escaped_id)

    @property
    def age(self) -> tuple[bool, int]:
        """Grows with the version, within a partition."""
        return (self.status.finished, self.position.offset)


def read_name(key: str, size: int) -> Named | None:
    """None for what is no record: other people's objects may lie about."""
    match = _NAME.fullmatch(key.rpartition("/")[2])
    if match is None or match[2] not in tuple(Status):
        return None
    position = Position(int(match[3]), int(match[4]))
    return Named(key, int(match[1]), Status(match[2]), position, match[5], size)
