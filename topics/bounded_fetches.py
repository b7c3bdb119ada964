"""Bounds the memory that a consumer's compressed batches take. Brokers bound only their compressed size.

It uses these internals of aiokafka: the client's `send`, through which answers to fetches come, and that a batch of no
records only moves the position. `tests/unit/topics/test_bounded_fetches.py` fails when they change.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.util import calc_crc32c

from topics.batch_format import (
    ATTRIBUTES_AT,
    CODEC_MASK,
    CRC_AT,
    CRC_FROM,
    CURRENT_FORMAT,
    FRAME,
    HEADER,
    LEGACY_ATTRIBUTES_AT,
    LENGTH_AT,
    MAGIC_AT,
)
from topics.decompression import TooLarge, Undecodable, decompress

LeftOut = Callable[[TopicPartition, int], None]
"""(partition, offset of the batch's first record)"""


@dataclass(frozen=True, slots=True)
class _BoundedAnswer:
    """What aiokafka reads of the answer to a fetch."""

    API_VERSION: int
    topics: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]


def bound_fetches(consumer: AIOKafkaConsumer, limit: int, left_out: LeftOut) -> None:
    """Decompresses batches up to `limit` bytes each, and leaves out those that are larger or can't be decompressed.

    To be called when the consumer has started, before it is assigned anything. One answer has of each partition
    batches of `limit` bytes, and the one that exceeds that.
    """
    client = consumer._client  # noqa: SLF001 - see above
    send = client.send

    async def sent(node_id: int, request: Any, **options: Any) -> Any:
        response = await send(node_id, request, **options)
        if not isinstance(request, FetchRequest):
            return response
        return _BoundedAnswer(
            response.API_VERSION,
            [
                (topic, [_bounded(TopicPartition(topic, fields[0]), fields, limit, left_out) for fields in partitions])
                for topic, partitions in response.topics
            ],
        )

    client.send = sent


def _bounded(partition: TopicPartition, fields: tuple[Any, ...], limit: int, left_out: LeftOut) -> tuple[Any, ...]:
    """The answer for one partition, without compressed batches; its last field has the batches."""
    taken, size = [], 0
    for frame in _frames(fields[-1] or b""):
        read = _decompressed(frame, limit)
        if read is None:
            base = int.from_bytes(frame[:8], signed=True)
            left_out(partition, base)
            taken.append(_without_records(frame, base))
        else:
            taken.append(read)
        size += limit if read is None else len(read)
        if size >= limit:
            break  # the next fetch begins with what follows
    return (*fields[:-1], b"".join(taken))


def _frames(data: bytes) -> Iterator[bytes]:
    """Each batch; what makes no sense as one is unchanged, and aiokafka raises for it before it reads it."""
    position = 0
    while position < len(data):
        end = len(data)
        if position + FRAME.size <= end:
            _, length = FRAME.unpack_from(data, position)
            if length > 0:
                end = min(end, position + FRAME.size + length)
        yield data[position:end]
        position = end


def _decompressed(frame: bytes, limit: int) -> bytes | None:
    """The batch with its records not compressed; None if it is to be left out."""
    if len(frame) <= LEGACY_ATTRIBUTES_AT:
        return frame
    if frame[MAGIC_AT] < CURRENT_FORMAT:
        return None if frame[LEGACY_ATTRIBUTES_AT] & CODEC_MASK else frame
    if len(frame) < HEADER.size:
        return frame
    _, _, _, _, crc, attributes, *_ = HEADER.unpack_from(frame)
    if not attributes & CODEC_MASK or calc_crc32c(memoryview(frame)[CRC_FROM:]) != crc:
        return frame  # aiokafka decompresses nothing whose checksum is wrong
    try:
        records = decompress(attributes & CODEC_MASK, frame[HEADER.size :], limit)
    except (TooLarge, Undecodable):
        return None
    return _sealed(frame[: HEADER.size], attributes & ~CODEC_MASK, records)


def _without_records(frame: bytes, base: int) -> bytes:
    """A batch with the offsets of another, and no record."""
    delta = HEADER.unpack_from(frame)[6] if frame[MAGIC_AT] >= CURRENT_FORMAT else 0
    return _sealed(HEADER.pack(base, 0, -1, CURRENT_FORMAT, 0, 0, delta, -1, -1, -1, -1, -1, 0), 0, b"")


def _sealed(header: bytes, attributes: int, records: bytes | memoryview) -> bytes:
    """A batch with the right length and checksum."""
    batch = bytearray(header + bytes(records))
    struct.pack_into(">i", batch, LENGTH_AT, len(batch) - FRAME.size)
    struct.pack_into(">h", batch, ATTRIBUTES_AT, attributes)
    struct.pack_into(">I", batch, CRC_AT, calc_crc32c(memoryview(batch)[CRC_FROM:]))
    return bytes(batch)
