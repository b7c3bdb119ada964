"""Reads record batches as brokers store them, one by one and record by record.

aiokafka's C parser reads regular batches. What it refuses is read again by a slow, tolerant parser: names of headers
may be any bytes, and an unreadable record affects no other record if its length is correct.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from processor.errors import Fatal
from topics.batch_format import ATTRIBUTES_AT, CODEC_MASK, CRC_FROM, CURRENT_FORMAT, FRAME, HEADER, LENGTH_AT, MAGIC_AT
from topics.decompression import TooLarge, Undecodable, decompress

LEAST_LENGTH: Final = 14
"""Of the smallest message of the oldest format."""
APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
NO_TIMESTAMP: Final = -1

Headers = tuple[tuple[str, bytes | None], ...]


class Fault(StrEnum):
    """Why something of a batch whose checksum is right is not readable."""

    TOO_LARGE = "too_large"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class BatchedRecord:
    """As aiokafka's records; `renamed` counts headers whose names are not UTF-8: those bytes are escaped."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_type: int = 0
    renamed: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record, or several up to `last`, that cannot be read although they are unchanged since they were written.

    `value` has the bytes of a single record in the batch, None for a batch.
    """

    offset: int
    last: int
    fault: Fault
    detail: str
    timestamp: int = NO_TIMESTAMP
    value: bytes | None = None
    key: None = None
    headers: Headers = ()
    transactional: bool = False


class Corrupt(Fatal):
    """The bytes are not what was written, or this cannot be verified: nothing at or after this place may be passed over."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a partition cannot be read from `offset`. `end`: the offset after the batch, if its header has it.

    With `of_broker`, the broker could not read its own log, which may be temporary: the batch is unknown.
    """

    topic: str
    partition: int
    offset: int
    end: int | None
    cause: str
    of_broker: bool = False

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} can't be read at offset {self.offset}: {self.cause}"


class RecordBatch:
    """One batch of the current format; its checksum is verified. Raises Corrupt."""

    __slots__ = (
        "_attributes",
        "_count",
        "_data",
        "_first_timestamp",
        "_max_timestamp",
        "base_offset",
        "last_offset",
        "producer_id",
        "size",
    )

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER.size:
            raise Corrupt(f"a batch of {len(data)} bytes is shorter than its header")
        base, _, _, _, crc, attributes, last_delta, first, newest, producer_id, _, _, count = HEADER.unpack_from(data)
        if calc_crc32c(memoryview(data)[CRC_FROM:]) != crc:
            raise Corrupt("the checksum of the batch is wrong")
        if base < 0 or last_delta < 0:
            raise Corrupt(f"the batch claims the offsets {base} to {base + last_delta}")
        self._data = data
        self._attributes, self._count = attributes, count
        self._first_timestamp, self._max_timestamp = first, newest
        self.base_offset, self.last_offset, self.producer_id = base, base + last_delta, producer_id
        self.size = len(data)
        """Bytes of it in memory: once its records are read, decompressed."""

    @property
    def is_transactional(self) -> bool:
        return bool(self._attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self._attributes & CONTROL)

    def records(self, start: int, limit: int) -> Iterator[Any]:
        """Records from offset `start`, in order; an Unreadable in the place of what can't be read. Raises nothing.

        The batch takes at most `limit` bytes decompressed.
        """
        position, last = max(start, self.base_offset), self.last_offset
        try:
            payload = decompress(self._attributes & CODEC_MASK, self._data[HEADER.size :], limit)
        except TooLarge:
            detail = f"the batch of offsets {self.base_offset} to {last} is larger than {limit} bytes decompressed"
            yield Unreadable(position, last, Fault.TOO_LARGE, detail, transactional=self.is_transactional)
            return
        except Undecodable as error:
            detail = f"the batch of offsets {self.base_offset} to {last} can't be decompressed ({error})"
            yield Unreadable(position, last, Fault.INVALID, detail)
            return
        self.size = len(payload)
        try:
            for record in MemoryRecords(self._plain(payload)).next_batch():
                offset = record.offset
                if offset < position:
                    continue
                if offset > last:
                    break
                position = offset + 1
                yield record
            else:
                return
        except Exception:  # noqa: BLE001, S110 - whatever it is, the slow way finds it
            pass
        yield from self._tolerantly(bytes(payload), position)

    def _plain(self, payload: bytes | memoryview) -> bytes:
        """The batch without compression. Its checksum is not computed again: nobody checks it any more."""
        if not self._attributes & CODEC_MASK:
            return self._data
        header = bytearray(self._data[: HEADER.size])
        struct.pack_into(">i", header, LENGTH_AT, HEADER.size - FRAME.size + len(payload))
        struct.pack_into(">h", header, ATTRIBUTES_AT, self._attributes & ~CODEC_MASK)
        return b"".join((header, payload))

    def _tolerantly(self, payload: bytes, position: int) -> Iterator[BatchedRecord | Unreadable]:
        """Each record by itself, from the one at offset `position`."""
        cursor, last, done = _Cursor(payload), self.last_offset, 0
        while done < self._count and not cursor.at_end:
            try:
                body = cursor.take(cursor.number())
            except (ValueError, IndexError) as error:
                yield from self._rest(position, f"record {done} of the batch has no end ({error})")
                return
            done += 1
            record = self._record(body, position)
            if record.offset > last:
                yield from self._rest(position, f"record {done - 1} of the batch claims the offset {record.offset}")
                return
            if record.offset >= position:
                position = record.offset + 1
                yield record
        if done < self._count or not cursor.at_end:
            yield from self._rest(position, f"the batch claims {self._count} records and holds {done}")

    def _rest(self, position: int, detail: str) -> Iterator[Unreadable]:
        if position <= self.last_offset:
            yield Unreadable(position, self.last_offset, Fault.INVALID, detail)

    def _record(self, body: bytes, position: int) -> BatchedRecord | Unreadable:
        cursor, offset = _Cursor(body), position
        try:
            cursor.number()  # attributes, which are unused
            delta = cursor.number()
            offset = self.base_offset + cursor.number()
            key, value = cursor.nullable(), cursor.nullable()
            headers, renamed = _headers(cursor)
        except (ValueError, IndexError) as error:
            return Unreadable(offset, offset, Fault.INVALID, f"the record can't be read ({error})", value=body)
        append_time = self._attributes & APPEND_TIME
        timestamp = self._max_timestamp if append_time else _signed(self._first_timestamp + delta)
        return BatchedRecord(offset, timestamp, key, value, headers, int(bool(append_time)), renamed)


class _Cursor:
    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def at_end(self) -> bool:
        return self._position >= len(self._data)

    def number(self) -> int:
        """A zigzag varint of at most 64 bits."""
        value = shift = 0
        while True:
            byte = self._data[self._position]
            self._position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return _signed((value >> 1) ^ -(value & 1))
            shift += 7
            if shift >= 70:
                raise ValueError("a number of more than 64 bits")

    def take(self, length: int) -> bytes:
        end = self._position + length
        if length < 0 or end > len(self._data):
            raise ValueError(f"{length} bytes at {self._position} of {len(self._data)}")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def nullable(self) -> bytes | None:
        length = self.number()
        return None if length < 0 else self.take(length)


def _headers(cursor: _Cursor) -> tuple[Headers, int]:
    """Returns the rest of a record, and the number of escaped names. Raises ValueError, IndexError."""
    headers: list[tuple[str, bytes | None]] = []
    renamed = 0
    count = cursor.number()
    if count < 0:
        raise ValueError(f"{count} headers")
    for _ in range(count):
        raw = cursor.take(cursor.number())
        name = raw.decode(errors="backslashreplace")
        renamed += name.encode() != raw
        headers.append((name, cursor.nullable()))
    if not cursor.at_end:
        raise ValueError("bytes are left over after the headers")
    return tuple(headers), renamed


def _signed(number: int) -> int:
    """As a 64-bit integer, as everybody else computes."""
    return (number + 2**63) % 2**64 - 2**63


def frames(data: bytes) -> Iterator[bytes]:
    """The batches of a fetch's answer, whatever is in them. The last may be cut off, and is then left out.

    Raises Corrupt where a length makes no sense, or the very first is cut off: brokers send at least one batch as a
    whole.
    """
    position = 0
    while len(data) - position > MAGIC_AT:
        _, length = FRAME.unpack_from(data, position)
        if length < LEAST_LENGTH:
            raise Corrupt(f"a batch claims a length of {length} bytes")
        end = position + FRAME.size + length
        if end > len(data):
            break
        yield data[position:end]
        position = end
    if position == 0 and data:
        raise Corrupt(f"the batch is cut off after {len(data)} bytes")


def format_of(frame: bytes) -> int:
    return frame[MAGIC_AT]


def plausible_end(frame: bytes) -> int | None:
    """The offset after a batch that may be corrupt, where its header makes sense."""
    if format_of(frame) != CURRENT_FORMAT or len(frame) < 27:
        return None
    base, delta = int.from_bytes(frame[:8], signed=True), int.from_bytes(frame[23:27], signed=True)
    return base + delta + 1 if base >= 0 and 0 <= delta < len(frame) else None
