"""The contract between model services and tokenstream: topics, records, and a producer.

A model service may install and import just this package; it needs aiokafka, msgspec and orjson, nothing of the relay.
"""

from typing import TYPE_CHECKING

from topics.records import ResponseRecord, Status

if TYPE_CHECKING:
    from topics.producer import TokenProducer

__all__ = ["ResponseRecord", "Status", "TokenProducer"]


def __getattr__(name: str) -> object:
    """Load the producer (and aiokafka with it) only for those who produce."""
    if name == "TokenProducer":
        from topics.producer import TokenProducer  # noqa: PLC0415

        return TokenProducer
    raise AttributeError(f"module 'topics' has no attribute {name!r}")
