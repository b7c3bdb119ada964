"""Reads Kafka's record batches so that no bytes in them can end a consumer: bounded, tolerant, with a fault for what
is unreadable.

`read_safely` replaces aiokafka's own parsing, for one consumer.
"""

from processor.kafka.record_batches.batches import BatchedRecord, Fault, Trouble, Unreadable
from processor.kafka.record_batches.fetches import HOLD, Fetched, Fetches, SafeConsumer, read_safely
from processor.kafka.record_batches.limits import DEFAULT_MAX_BATCH_BYTES
from processor.kafka.record_batches.reports import advice_on, report_trouble, report_unreadable

__all__ = [
    "DEFAULT_MAX_BATCH_BYTES",
    "HOLD",
    "BatchedRecord",
    "Fault",
    "Fetched",
    "Fetches",
    "SafeConsumer",
    "Trouble",
    "Unreadable",
    "advice_on",
    "read_safely",
    "report_trouble",
    "report_unreadable",
]
