"""The public values: token events as model services write them, and response records as storage keeps them.

Both are the public formats of version 1. Unknown fields are ignored, so fields can be added.
Times are integer milliseconds since the epoch; lengths and offsets are UTF-16 code units (`String.length`).
"""

from enum import StrEnum
from typing import Any, NewType, assert_never

import msgspec

ResponseId = NewType("ResponseId", str)
ChannelName = NewType("ChannelName", str)
JsonObject = dict[str, Any]

TEXT_PART = "text"
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
    """Why a record is in the dead letters (header `tokenstream-reason`)."""

    NOT_JSON = "not_json"
    INVALID = "invalid"
    VERSION = "version"
    NO_KEY = "no_key"
    TOO_LARGE = "too_large"
    NO_START = "no_start"
    LATE = "late"
    RESPONSE_ID_REUSED = "response_id_reused"
    CHANNEL_FORBIDDEN = "channel_forbidden"
    UNPUBLISHABLE = "unpublishable"
    STORE_REFUSED = "store_refused"
    POISON = "poison"


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
