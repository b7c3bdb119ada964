"""Messages of the formats before Kafka 0.11, which an old topic may still have. aiokafka reads them."""

from collections.abc import Iterator
from typing import Any

from aiokafka.record.memory_records import MemoryRecords

from processor.kafka.record_batches.batches import Corrupt, Fault, Unreadable
from topics.batch_format import CODEC_MASK, LEGACY_ATTRIBUTES_AT, MAGIC_AT
from topics.decompression import TooLarge, decompress

KEY_AT = (18, 26)
"""Where the key's length is, by format: the second has a timestamp."""


class LegacyBatch:
    """One message, or a compressed set of them. Raises Corrupt."""

    is_transactional = is_control = False
    producer_id: int | None = None
    base_offset = -1

    def __init__(self, data: bytes) -> None:
        self._data = data
        batch = _parsed(data)
        self.last_offset: int = batch.next_offset - 1
        self.size = len(data)
        if not batch.validate_crc():
            raise Corrupt("the checksum of the message is wrong")

    def records(self, start: int, limit: int) -> Iterator[Any]:
        """As `Batch.records`."""
        position = min(start, self.last_offset)
        try:
            self.size = _measure(self._data, limit)
            for record in MemoryRecords(self._data).next_batch():
                if record.offset >= start:
                    position = record.offset
                    yield record
        except TooLarge:
            detail = f"the message set up to offset {self.last_offset} is larger than {limit} bytes decompressed"
            yield Unreadable(position, self.last_offset, Fault.TOO_LARGE, detail)
        except Exception as error:  # noqa: BLE001 - whatever the library raises for these bytes
            detail = f"the message set up to offset {self.last_offset} can't be read ({error!r})"
            yield Unreadable(position, self.last_offset, Fault.INVALID, detail)


def _parsed(data: bytes) -> Any:
    try:
        return MemoryRecords(data).next_batch()
    except Exception as error:
        raise Corrupt(f"the message can't be read ({error!r})") from error


def _measure(data: bytes, limit: int) -> int:
    """Returns the size of the set, decompressed. Raises TooLarge or Undecodable where the library could not decompress it within the limit."""
    codec = data[LEGACY_ATTRIBUTES_AT] & CODEC_MASK
    if not codec:
        return len(data)
    at = KEY_AT[data[MAGIC_AT]]
    key_length = int.from_bytes(data[at : at + 4], signed=True)
    value = data[at + 4 + max(0, key_length) + 4 :]
    return len(decompress(codec, value, limit))
