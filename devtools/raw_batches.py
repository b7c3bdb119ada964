"""Record batches as bytes: made, damaged, sealed with a correct checksum, and sent to a broker unchanged."""

import struct
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

HEADER = 61
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

Entry = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]
"""(key, value, headers)"""


def batch(entries: Sequence[Entry], *, codec: int = 0, base: int = 0, timestamp: int = 7) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for number, (key, value, headers) in enumerate(entries):
        builder.append(number, timestamp, key, value, list(headers))
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def sealed(data: bytes) -> bytes:
    """With the checksum that its bytes have."""
    whole = bytearray(data)
    struct.pack_into(">I", whole, 17, calc_crc32c(memoryview(whole)[21:]))
    return bytes(whole)


def around(payload: bytes, *, count: int, codec: int = 0, last_delta: int | None = None, base: int = 0) -> bytes:
    """A sealed batch whose records are these bytes, whatever they are."""
    delta = count - 1 if last_delta is None else last_delta
    head = struct.pack(
        ">qiibIhiqqqhii", base, HEADER - 12 + len(payload), -1, 2, 0, codec, delta, 7, 7, -1, -1, -1, count
    )
    return sealed(head + payload)


class RawBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka is untyped
    """A batch that is sent to the broker unchanged."""

    def __init__(self, data: bytes, count: int) -> None:
        super().__init__(1 << 30, 0)
        self._buffer = bytearray(data)
        self._relative_offset = count
        self.close()


async def send_raw(bootstrap: str, topic: str, partition: int, data: bytes, count: int) -> int:
    """Produces a batch unchanged. Returns the offset of its first record."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=False) as producer:
        metadata = await (await producer.send_batch(RawBatch(data, count), topic, partition=partition))
        return int(metadata.offset)
