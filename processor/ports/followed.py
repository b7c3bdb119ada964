"""Records of a topic as its followers get them: without headers, which no follower needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FollowedRecord:
    """A record of Kafka. `written` is its time in milliseconds, 0 where it has none."""

    partition: int
    offset: int
    written: int
    key: bytes
    value: bytes | None
