"""Kafka, over aiokafka: the consumer and its group membership, the transactional writer of a partition, takeover reads.

aiokafka's internals are used in few places: `membership` observes the coordinator's heartbeats, which the library
does not report, and asks for a rejoin; `consumer` asks the subscription for positions; `readers` asks the coordinator
for offsets; `stopping` stops clients of which a task may have failed, or to which no broker answers;
`processor.kafka.record_batches` reads what was fetched.
`tests/integration/relay/test_kafka_internals.py` fails when they change.
"""

from processor.kafka.connection import ConnectionSource
from processor.kafka.consumer import Consumer
from processor.kafka.membership import GroupMembership
from processor.kafka.readers import CommittedOffsets, LogEnds, ResponsesReader
from processor.kafka.writer import TransactionalWriter, transactional_writers

__all__ = [
    "CommittedOffsets",
    "ConnectionSource",
    "Consumer",
    "GroupMembership",
    "LogEnds",
    "ResponsesReader",
    "TransactionalWriter",
    "transactional_writers",
]
