"""Reading back what a predecessor made durable."""

import structlog

from processor.clock import Clock
from processor.core.partition import PartitionPipeline
from processor.ingest.ports import RecordsReader
from topics.codec import decode_response
from topics.records import ResponseRecord

log = structlog.get_logger(__name__)


async def restore(pipeline: PartitionPipeline, responses: RecordsReader, number: int, start: int, clock: Clock) -> None:
    """Rebuild the open responses and the finished ids from `responses[number]`, from `start` to its end.

    Raises KafkaUnavailable.
    """
    entries: list[tuple[int, str, ResponseRecord | None]] = []

    def take(offset: int, key: bytes, value: bytes | None) -> None:
        response_id = key.decode(errors="replace")
        if value is None:
            entries.append((offset, response_id, None))
            return
        try:
            entries.append((offset, response_id, decode_response(value)))
        except ValueError as error:
            log.warning("response_record_unreadable", partition=number, offset=offset, cause=str(error))

    end = await responses.read(number, start, take)
    pipeline.restore(entries, end, clock.monotonic())
