"""The public values: token events as model services write them, and response records as storage keeps them.

Both are the public formats of version 1. Unknown fields are ignored, so fields can be added.
Times are integer milliseconds since the epoch; lengths and offsets are UTF-16 code units (`String.length`).
"""

from enum import StrEnum
from typing import Any, NewType, Self, assert_never

import msgspec

ResponseId = NewType("ResponseId", str)
ChannelName = NewType("ChannelName", str)
JsonObject = dict[str, Any]

TEXT_PART = "text"
_CORRECT_THE_PRODUCER = "Correct the producer; headers have topic, partition and offset."
FORMAT_VERSION = 1


class Event(StrEnum):
    START = "start"
    TOKEN = "token"
    STOP = "stop"


class Status(StrEnum):
    STREAMING = "streaming"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"

    @property
    def finished(self) -> bool:
        return self is not Status.STREAMING


class EndReason(StrEnum):
    """Why a response ended: the `reason` of a stop and of a finished record."""

    # Given by producers
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"
    ERROR = "error"
    # Decided by the relay
    ABANDONED = "abandoned"
    """No record arrived for the idle timeout, or too many responses were open."""
    TOO_LARGE = "too_large"
    """Its record would pass `MAX_RESPONSE_BYTES`, or what it waits for fills the memory."""
    RESPONSE_ID_REUSED = "response_id_reused"
    """Another start came while it was open."""
    LOST = "lost"
    """It has no numbers, and records of the log are gone."""
    UNPUBLISHABLE = "unpublishable"
    """Its channel refuses it permanently. It has no stop."""

    @property
    def status(self) -> Status:
        match self:
            case EndReason.STOP | EndReason.LENGTH | EndReason.TOOL_CALLS | EndReason.CONTENT_FILTER:
                return Status.COMPLETE
            case EndReason.CANCELLED:
                return Status.CANCELLED
            case EndReason.ABANDONED:
                return Status.ABANDONED
            case EndReason.ERROR | EndReason.TOO_LARGE | EndReason.RESPONSE_ID_REUSED:
                return Status.FAILED
            case EndReason.LOST | EndReason.UNPUBLISHABLE:
                return Status.FAILED
            case _:
                assert_never(self)


STATUS_BY_REASON: dict[str, Status] = {
    reason: reason.status
    for reason in (
        EndReason.STOP,
        EndReason.LENGTH,
        EndReason.TOOL_CALLS,
        EndReason.CONTENT_FILTER,
        EndReason.CANCELLED,
        EndReason.ERROR,
    )
}
"""What a producer may give as the `reason` of a stop, and the status it leads to."""


class Reason(StrEnum):
    """Why a record is in the dead letters (header `tokenstream-reason`): the value, what it means, and what operators do.

    The tables of both pages about dead letters are derived from this.
    """

    meaning: str
    remedy: str

    def __new__(cls, value: str, meaning: str = "", remedy: str = "") -> Self:
        reason = str.__new__(cls, value)
        reason._value_, reason.meaning, reason.remedy = value, meaning, remedy
        return reason

    NOT_JSON = "not_json", "The value is null, or cannot be decoded.", _CORRECT_THE_PRODUCER
    INVALID = "invalid", "A field is missing or wrong.", _CORRECT_THE_PRODUCER
    VERSION = "version", "`v` is higher than 1.", "Upgrade the relay, or produce version 1."
    NO_KEY = "no_key", "The record has no key and needs one.", _CORRECT_THE_PRODUCER
    TOO_LARGE = "too_large", "A field, or a batch, is over a limit.", _CORRECT_THE_PRODUCER
    NO_START = (
        "no_start",
        "The record's response never started.",
        "Records of one response are in several partitions (another partitioner?), or its start was invalid.",
    )
    LATE = (
        "late",
        "The record came after the end of its response, or inside an announced gap.",
        "A producer stalls longer than `GAP_TIMEOUT`, or continues after its `stop`.",
    )
    RESPONSE_ID_REUSED = "response_id_reused", "A second, different `start`.", "Give a regenerated answer a new id."
    CHANNEL_FORBIDDEN = (
        "channel_forbidden",
        "`CHANNEL_PATTERN` does not allow the channel.",
        "Correct the pattern, or the producer.",
    )
    UNPUBLISHABLE = (
        "unpublishable",
        "The channel refuses this publisher permanently.",
        "Correct the key's capability, then `tokenstream dead-letters replay --response ID`, which makes a new response.",
    )
    STORE_REFUSED = "store_refused", "The store cannot hold the record.", "See the detail header."
    POISON = (
        "poison",
        "Reading the record raises an error, or ends the processes that read it.",
        "Keep the record, the detail header and the logs of the owners, and report them.",
    )


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a response: the answer (`text`), reasoning, a tool call.

    `length` is in UTF-16 code units. `info` is the `partInfo` of the part's first token.
    """

    part: str
    kind: str
    info: JsonObject | None = None
    text: str
    length: int


class ResponseRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The newest durable state of a response: value of the `responses` topic, and what a store keeps.

    `seq` is the last sequence number covered; `gaps` are inclusive ranges that never came; `relay` is the relay's own.
    """

    v: int = FORMAT_VERSION
    response_id: str
    channel: str
    status: Status
    reason: str | None = None
    error: JsonObject | None = None
    parts: tuple[Part, ...] = ()
    seq: int
    tokens: int = 0
    gaps: tuple[tuple[int, int], ...] = ()
    metadata: JsonObject | None = None
    usage: JsonObject | None = None
    started_at: int
    first_token_at: int | None = None
    updated_at: int
    finished_at: int | None = None
    relay: JsonObject = {}

    @property
    def finished(self) -> bool:
        return self.status.finished

    @property
    def text(self) -> str:
        """The answer itself: the `text` part."""
        return next((part.text for part in self.parts if part.part == TEXT_PART), "")
