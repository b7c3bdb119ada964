"""The pointer of a response in object storage: it decides which version is stored, or that the response is deleted.
Pure.
"""

import hashlib

import msgspec

from processor.archive.object_names import record_key
from processor.ports.store import Entry, Position, last_changed, outdoes


class Pointer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the record of a response is. `deleted_at` (ms): it must not come back; `key` is then what may be left to remove."""

    response_id: str
    channel: str = ""
    key: str = ""
    partition: int = 0
    offset: int = 0
    finished: bool = False
    updated_at: int = 0
    changed_at: int = 0
    stored_at: int = 0
    """When the pointer was written, by the writer's clock; 0 in pointers of earlier versions, whose object has the
    time.
    """
    size: int = 0
    sha256: str = ""
    deleted_at: int | None = None

    @property
    def position(self) -> Position:
        return Position(self.partition, self.offset)


decode_pointer = msgspec.json.Decoder(Pointer).decode
encode_pointer = msgspec.json.Encoder().encode


def pointer_to(entry: Entry, stored_at: int) -> Pointer:
    record, value = entry.record, entry.value
    assert record is not None
    assert value is not None
    return Pointer(
        response_id=entry.response_id,
        channel=record.channel,
        key=record_key(record, entry.position),
        partition=entry.position.partition,
        offset=entry.position.offset,
        finished=record.finished,
        updated_at=record.updated_at,
        changed_at=last_changed(record),
        stored_at=stored_at,
        size=len(value),
        sha256=hashlib.sha256(value).hexdigest(),
    )


def is_outdone(entry: Entry, old: Pointer) -> bool:
    assert entry.record is not None
    return not outdoes(
        entry.position, entry.record, old.position, old_finished=old.finished, old_updated_at=old.updated_at
    )
