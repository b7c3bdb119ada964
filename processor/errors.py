"""What can go wrong, as types. Whether to retry is told by the type, never by a message.

TokenstreamError
├── SettingsError           a wrong setting; the process exits with 2, one line a mistake
├── Retryable               may succeed if tried again as it is
│   ├── CredentialsChanged  secrets or certificates rotated: connect anew
│   ├── PublishRetry        the publish is undetermined or was refused for now: send the same frame again
│   ├── KafkaUnavailable    no broker answered
│   │   ├── TombstoneUndetermined  sent, and not acknowledged in time
│   │   ├── RecordTooLarge  Kafka takes no record of this size: it has to be cut, or the topic changed
│   │   └── RecordsGone     records were deleted before they were read: take the partition over again
│   └── StoreUnavailable    the store did not answer
└── Fatal                   will not succeed, however often it is tried
    ├── PublishRefused      the frame is too large, or its channel can't be published to
    ├── StoreRefused        the store refuses this one record for itself
    ├── SchemaOutdated      the store's schema is not this program's; says which command mends it
    ├── TopicsUnfit         the topics can't work as they are; says which command mends it
    └── PartitionLost       this process no longer owns the partition (fenced)
"""

from collections.abc import Mapping
from enum import Enum, auto


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


class RefusalKind(Enum):
    """Why the realtime service did not publish a frame. An adapter maps every code of its service to one of these."""

    UNDETERMINED = auto()
    """No answer that can be believed: the frame may be published."""
    PASSING = auto()
    """Refused for now, for a reason that is expected to pass."""
    SLOW_LINK = auto()
    """The rate of the link is too high."""
    SLOW_CHANNEL = auto()
    """The rate of the channel is too high."""
    SLOW_ALL = auto()
    """The rate is too high: the channel's, the link's, or that of the whole account."""
    CREDENTIALS = auto()
    """The credentials or the whole account: nothing can be published until a person corrects it."""
    UNEXPLAINED = auto()
    """This frame, for a reason that is not known to pass."""
    TOO_LARGE = auto()
    """The frame is larger than the service takes."""
    CHANNEL = auto()
    """The channel, or this publisher on it, permanently."""


class PublishRetry(Retryable):
    """`code` is the realtime service's own, or 0 where no answer came."""

    def __init__(self, message: str, *, kind: RefusalKind = RefusalKind.UNDETERMINED, code: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code


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


class PublishRefused(Fatal):
    """`kind` is TOO_LARGE or CHANNEL; `code` is the realtime service's own. Nothing of the frame was delivered."""

    def __init__(self, message: str, *, kind: RefusalKind, code: int) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code


class StoreRefused(Fatal):
    pass


class SchemaOutdated(Fatal):
    pass


class TopicsUnfit(Fatal):
    pass


class PartitionLost(Fatal):
    pass
