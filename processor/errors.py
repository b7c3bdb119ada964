"""What can go wrong, as types. Whether to retry is told by the type, never by a message.

TokenstreamError
├── SettingsError           a wrong setting; the process exits with 2, one line a mistake
├── Retryable               may succeed if tried again as it is
│   ├── CredentialsChanged  secrets or certificates rotated: connect anew
│   ├── PublishRetry        the publish is undetermined or was refused for now
│   ├── KafkaUnavailable    no broker answered
│   │   ├── TombstoneUndetermined  sent, and not acknowledged in time
│   │   ├── RecordTooLarge  Kafka takes no record of this size: it has to be cut, or the topic changed
│   │   └── RecordsGone     records were deleted before they were read: take the partition over again
│   └── StoreUnavailable    the store did not answer
└── Fatal                   will not succeed, however often it is tried
    ├── ChannelRefused      this channel can't be published to: its responses fail
    ├── FrameTooLarge       the frame must be split
    ├── StoreRefused        the store refuses this one record for itself
    ├── SchemaOutdated      the store's schema is not this program's; says which command mends it
    ├── TopicsUnfit         the topics can't work as they are; says which command mends it
    └── PartitionLost       this process no longer owns the partition (fenced)
"""

from collections.abc import Mapping


class TokenstreamError(Exception):
    """The root. `str(error)` is a sentence for a person: what is wrong, where, what to do."""


class SettingsError(TokenstreamError):
    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Retryable(TokenstreamError):
    pass


class CredentialsChanged(Retryable):
    """A client was made with secrets or certificates that have changed since."""


class PublishRetry(Retryable):
    """`code` is Ably's, or 0 where the answer never came; `slow_down` asks for a lower pace.

    `unexplained`: the service refused the message for a reason that is not known to pass.
    """

    def __init__(self, message: str, *, code: int = 0, slow_down: bool = False, unexplained: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.slow_down = slow_down
        self.unexplained = unexplained


class KafkaUnavailable(Retryable):
    pass


class TombstoneUndetermined(KafkaUnavailable):
    """A deletion may be on the log, or not: asking for it again is right either way."""


class RecordTooLarge(KafkaUnavailable):
    """Kafka takes no record of this size (bytes of key and value) on this topic."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__(
            f"a record of {size} bytes is too large for topic {topic}: `tokenstream topics check` says what is to be set"
        )
        self.topic = topic
        self.size = size


class RecordsGone(KafkaUnavailable):
    """What stands at these positions (offsets by partition) is no longer in the log."""

    def __init__(self, positions: Mapping[int, int]) -> None:
        super().__init__(f"partitions have no records at the positions they were read to: {dict(positions)}")
        self.positions = positions


class StoreUnavailable(Retryable):
    pass


class Fatal(TokenstreamError):
    pass


class ChannelRefused(Fatal):
    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class FrameTooLarge(Fatal):
    pass


class StoreRefused(Fatal):
    pass


class SchemaOutdated(Fatal):
    pass


class TopicsUnfit(Fatal):
    pass


class PartitionLost(Fatal):
    pass
