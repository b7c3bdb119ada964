"""Reading back what a predecessor made durable."""

from collections.abc import Iterator

import msgspec
import structlog

from processor.clock import Clock
from processor.core.partition import PartitionPipeline
from processor.ingest.ports import RecordsReader
from topics.codec import decode_response
from topics.records import ResponseRecord, Status

log = structlog.get_logger(__name__)


async def restore(pipeline: PartitionPipeline, responses: RecordsReader, number: int, start: int, clock: Clock) -> None:
    """Rebuild the open responses and the finished ids from `responses[number]`, from `start` to its end.

    Raises KafkaUnavailable.
    """
    newest: dict[str, tuple[int, bytes | ResponseRecord | None]] = {}

    def take(offset: int, key: bytes, value: bytes | None) -> None:
        response_id = key.decode(errors="replace")
        newest.pop(response_id, None)  # so that the order stays that of the offsets
        newest[response_id] = (offset, _kept(value))

    end = await responses.read(number, start, take)
    pipeline.restore(_decoded(newest, number), end, clock.monotonic())


class _Head(msgspec.Struct):
    status: Status


_head = msgspec.json.Decoder(_Head).decode


def _kept(value: bytes | None) -> bytes | ResponseRecord | None:
    """Of a finished response's record nothing but what is remembered of it: the texts of many would fill the memory."""
    try:
        if value is None or not _head(value).status.finished:
            return value
        return msgspec.structs.replace(decode_response(value), parts=(), metadata=None, usage=None)
    except (ValueError, msgspec.DecodeError):
        return value  # told once it is known to be the newest


def _decoded(
    newest: dict[str, tuple[int, bytes | ResponseRecord | None]], number: int
) -> Iterator[tuple[int, str, ResponseRecord | None]]:
    for response_id, (offset, value) in newest.items():
        if value is None or isinstance(value, ResponseRecord):
            yield offset, response_id, value
            continue
        try:
            yield offset, response_id, decode_response(value)
        except ValueError as error:
            log.warning("response_record_unreadable", partition=number, offset=offset, cause=str(error))
