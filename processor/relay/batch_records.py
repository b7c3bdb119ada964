"""Builds the records of one transaction: response records, and dead letters within their topic's size limit."""

import structlog

from processor.core.dead_letters import headers_of, value_of
from processor.core.write_queue import Batch
from processor.errors import RecordTooLarge
from processor.ports.log import Record
from processor.telemetry.metrics import Metrics
from topics.codec import encode_response

log = structlog.get_logger(__name__)

SMALLEST_DEAD_LETTER = 32 * 1024
"""Bytes. A record that is refused although it is not larger waits until the topic's limit is corrected."""


class BatchRecords:
    """Encodes what a partition's batches hold. The size of dead letters only shrinks, as their topic refuses them."""

    def __init__(self, number: int, *, responses_topic: str, dead_letters_topic: str, dead_letter_bytes: int) -> None:
        self._number = number
        self._responses_topic = responses_topic
        self._dead_letters_topic = dead_letters_topic
        self._dead_letter_bytes = dead_letter_bytes

    def of(self, batch: Batch, tokens_topic: str, now_ms: int) -> list[Record]:
        records: list[Record] = [
            Record(
                self._responses_topic, self._number, save.record.response_id.encode(), encode_response(save.record), ()
            )
            for save in batch.saves
        ]
        for letter in batch.dead_letters:
            value, cut = value_of(letter, self._dead_letter_bytes)
            headers = headers_of(letter, topic=tokens_topic, partition=self._number, now_ms=now_ms)
            records.append(Record(self._dead_letters_topic, None, letter.raw.key, value, [*headers, *cut]))
        return records

    def cut_dead_letters(self, refused: RecordTooLarge) -> bool:
        """Cut dead letters shorter from now on, if one was refused. Whether there is anything left to cut."""
        if refused.topic != self._dead_letters_topic or self._dead_letter_bytes <= SMALLEST_DEAD_LETTER:
            return False
        longest = min(self._dead_letter_bytes, refused.size)
        self._dead_letter_bytes = max(SMALLEST_DEAD_LETTER, longest * 7 // 8)
        log.warning("dead_letters_cut", partition=self._number, bytes=self._dead_letter_bytes, cause=str(refused))
        return True


def count_batch(metrics: Metrics, batch: Batch) -> None:
    """Counts what became durable with a batch."""
    for letter in batch.dead_letters:
        metrics.dead_letters.labels(str(letter.reason)).inc()
    metrics.snapshots.inc(sum(not save.record.finished for save in batch.saves))
