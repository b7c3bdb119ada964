"""The contract between model services and tokenstream: topics, records, and a producer.

A model service may install and import only this package. It needs aiokafka, msgspec and orjson, and no part of the
relay.
"""

from typing import TYPE_CHECKING

from topics.records import ResponseRecord, Status

if TYPE_CHECKING:
    from topics.producer import TokenProducer

__all__ = ["ResponseRecord", "Status", "TokenProducer"]


def __getattr__(name: str) -> object:
    """Loads the producer, and aiokafka with it, on first use."""
    if name == "TokenProducer":
        from topics.producer import TokenProducer  # noqa: PLC0415

        return TokenProducer
    raise AttributeError(f"module 'topics' has no attribute {name!r}")
