"""Determines where a takeover begins, and reads back what a predecessor made durable."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from processor.clock import Clock
from processor.core.pipeline import PipelineDurability, PipelineInput
from processor.errors import KafkaUnavailable, PartitionLost
from processor.ports.log import RecordsReader
from processor.relay.commit_metadata import CommitMetadata
from processor.telemetry.retry import Retry
from topics.codec import decode_response
from topics.records import ResponseRecord

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Beginning:
    """`offset`: the first tokens offset to read. `restore`: the `responses` offset to read from.

    `lost`: the committed offset is not in the log. `clean`: what the predecessor recorded of its end, None if nothing
    was ever committed.
    """

    offset: int
    restore: int
    lost: bool
    clean: bool | None
    metadata: CommitMetadata = CommitMetadata()  # noqa: RUF009 - frozen

    @property
    def attempts(self) -> int:
        """Owners that ended uncleanly at this offset, one after the other."""
        return 0 if self.clean is not False or self.lost else self.metadata.attempts + 1

    def clean_after(self, responses_end: int) -> bool:
        """Whether nothing can have been published that `responses` does not know."""
        return responses_end == 0 if self.clean is None else self.clean


def beginning(committed: tuple[int, str] | None, first: int, end: int) -> Beginning:
    """`committed` is (offset, metadata) of the group; the log holds offsets from `first` to before `end`.

    A committed offset beyond the end means that the log lost its end, or is another one under the same name; the two
    cases cannot be distinguished. So all of it is read again, and all that `responses` holds: what it knows is
    dropped as repeats.
    """
    metadata = CommitMetadata.decode(committed[1] if committed else None)
    offset = committed[0] if committed else first
    if offset > end:
        return Beginning(first, 0, lost=True, clean=False)
    clean = metadata.clean if committed else None
    return Beginning(max(first, offset), metadata.restore, offset < first, clean, metadata)


async def restore(pipeline: PipelineInput, responses: RecordsReader, number: int, start: int, clock: Clock) -> int:
    """Rebuild the open responses and the finished ids from `responses[number]`, from `start` to its end. The end's
    offset.

    Raises KafkaUnavailable.
    """
    now = clock.monotonic()

    def take_up(offset: int, key: bytes, value: bytes | None) -> None:
        response_id = key.decode(errors="replace")
        try:
            pipeline.take_up(offset, response_id, None if value is None else decode_response(value), now)
        except ValueError as error:
            pipeline.pass_over(response_id)
            log.warning("response_record_unreadable", partition=number, offset=offset, cause=str(error))

    end = await responses.read(number, start, take_up)
    pipeline.restore((), end, clock.monotonic())
    return end


async def record_at(responses: RecordsReader, number: int, offset: int) -> ResponseRecord | None:
    """Returns the record at an offset of `responses[number]`, None if it no longer exists. Raises KafkaUnavailable."""
    found: list[bytes] = []

    def keep(at: int, _key: bytes, value: bytes | None) -> None:
        if at == offset and value is not None:
            found.append(value)

    await responses.read(number, offset, keep, only=True)
    return decode_response(found[0]) if found else None


async def read_texts_back(
    pipeline: PipelineDurability,
    responses: RecordsReader,
    number: int,
    retry: Retry,
    failed: Callable[[KafkaUnavailable, int], None],
) -> None:
    """Reads the texts that the next records of their responses need. Raises PartitionLost where a record is gone."""
    for _, offset in pipeline.texts_wanted():
        record = await retry.until_done(partial(record_at, responses, number, offset), KafkaUnavailable, failed)
        if record is None:
            raise PartitionLost(f"partition {number}: the record of an open response at {offset} is gone")
        pipeline.read_back(record)
