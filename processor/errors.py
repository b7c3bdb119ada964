"""The error types. The type, never a message, decides whether to retry. A test checks that each is drawn under its base.

TokenstreamError                        the root, in `topics.errors`
├── SettingsError                       a wrong setting; the process exits with 2, with one line per mistake
├── Retryable                           may succeed if the same is tried again
│   ├── CredentialsChanged              secrets or certificates rotated: connect again
│   ├── PublishRetry                    the publish is undetermined or was refused for now
│   ├── SubscriptionUnavailable         the channel can't be followed now
│   ├── TokenUnreadable                 the token of a connection to Kafka can't be read; one of the library's errors, too
│   ├── KafkaUnavailable                no broker answered
│   │   ├── TombstoneUndetermined       sent, and not acknowledged in time
│   │   └── WriteForbidden              Kafka does not let this client write to the topic: a person corrects that meanwhile
│   ├── MetricsUnavailable              no process answers with metrics
│   └── StoreUnavailable                the store did not answer
│       └── PermissionRefused           the store's credentials do not allow it: a person corrects that meanwhile
├── Correctable                         the same fails again, and the caller can do something about it
│   ├── Conflict                        another process wrote the object in between: read it again
│   ├── RecordTooLarge                  Kafka takes no record of this size: cut it, or change the topic
│   └── RecordsGone                     records were deleted before they were read: take the partition over again
├── Fatal                               the same fails again, and a person decides
│   ├── PublishRefused                  the frame is too large, or its channel can't be published to
│   ├── SubscriptionRefused             the key may not subscribe to the channel
│   ├── StoreRefused                    the store refuses this one record for itself
│   ├── SchemaOutdated                  the store's schema is not this program's; names the command that corrects it
│   ├── TopicsUnfit                     the topics can't work; names the command that corrects them
│   ├── PartitionLost                   this process no longer owns the partition (fenced)
│   ├── PortTaken                       another program listens on the port
│   ├── Corrupt                         a batch can't be read: its bytes are not what was written
│   ├── CursorInvalid, ResponseMissing, DeadLetterMissing, ChannelUnknown
│   │                                   what was asked for does not exist
│   └── CancelRefused, NotCompactable, NotDeletable, NotProducible, NothingToSkip, ReplayImpossible
│                                       what was asked for can't be done
├── DeliveryError                       of the producer: Kafka did not take a record
│   └── RecordTooLargeError             the record is over the topic's `max.message.bytes`
├── Undecodable, TooLarge               a batch can't be decompressed: its bytes, its size
├── UpstreamFailed, EventTooLarge, CompletionTooLarge, Refusal
│                                       of the bridge: what its upstream or its caller did; each ends in it
├── FrameMissing, ReaderStalled         of the gateway: why a reader starts again from a snapshot
└── ServiceRefusal, _RefusedError, _MissingError
                                        an answer or a value refused; each ends in the package that raises it

Every other direct child of the root is a result of a function: its caller catches it by this name, and makes an answer,
a record or another of these errors of it. So nobody decides about it by a branch. An error that may pass further
derives from Retryable, Correctable or Fatal. DeliveryError has none of them, because `topics` is installed without them.
ApiError is outside this tree: it is the answer to an HTTP request.
"""

from collections.abc import Mapping
from enum import Enum, auto

from topics.errors import TokenstreamError

__all__ = [
    "Correctable",
    "CredentialsChanged",
    "Fatal",
    "KafkaUnavailable",
    "PartitionLost",
    "PublishRefused",
    "PublishRetry",
    "RecordTooLarge",
    "RecordsGone",
    "RefusalKind",
    "Retryable",
    "SchemaOutdated",
    "SettingsError",
    "StoreRefused",
    "StoreUnavailable",
    "TokenstreamError",
    "TombstoneUndetermined",
    "TopicsUnfit",
    "WriteForbidden",
]


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


class WriteForbidden(KafkaUnavailable):
    """Kafka does not let this client write to the topic. Nothing was written."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"Kafka refuses records for topic {topic}: grant its user Write and Describe on the topic")
        self.topic = topic


class StoreUnavailable(Retryable):
    pass


class Correctable(TokenstreamError):
    pass


class RecordTooLarge(Correctable):
    """Kafka takes no record of this size (bytes of key and value) on this topic."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__(
            f"a record of {size} bytes is too large for topic {topic}: `tokenstream topics check` says what is to be set"
        )
        self.topic = topic
        self.size = size


class RecordsGone(Correctable):
    """The records at these positions (offsets by partition) are no longer in the log."""

    def __init__(self, positions: Mapping[int, int]) -> None:
        super().__init__(f"partitions have no records at the positions they were read to: {dict(positions)}")
        self.positions = positions


class Fatal(TokenstreamError):
    pass


class PublishRefused(Fatal):
    """`kind` is TOO_LARGE or CHANNEL; `code` is the realtime service's own. No part of the frame was delivered."""

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
