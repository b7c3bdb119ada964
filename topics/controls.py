"""Control records: the request to end a response (`cancel`), and the notice that the relay ended it (`unwanted`).

The log of tokens decides: a `stop` before a cancel wins. Any bytes give a record or the reason why they are not one.
"""

from collections import OrderedDict
from enum import StrEnum
from typing import Annotated, Final

import msgspec
import orjson

from topics.json_text import is_utf8
from topics.limits import MAX_TIME_MS, Invalid, check_channel, check_response_id
from topics.records import FORMAT_VERSION, Reason

MAX_CONTROL_BYTES: Final = 16 * 1024
"""Of a control record's value."""
MAX_CONTROL_REASON: Final = 256
"""Characters of the `reason` of a control record."""
REMEMBERED_SECONDS: Final = 60.0
"""A response that starts at most this many seconds after its cancel ends at once. Consumers read controls from that
long ago.
"""
REMEMBERED_CONTROLS: Final = 100_000
"""The maximum number of responses whose controls a consumer remembers; above it the oldest is forgotten."""


class ControlEvent(StrEnum):
    CANCEL = "cancel"
    UNWANTED = "unwanted"


class ControlRecord(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Value of the `controls` topic; its key is the response id. A `cancel` always has its `channel`."""

    event: ControlEvent
    response_id: str
    channel: str | None = None
    ts: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=MAX_CONTROL_REASON)] | None = None
    v: Annotated[int, msgspec.Meta(ge=FORMAT_VERSION, le=FORMAT_VERSION)] = FORMAT_VERSION

    def concerns(self, channel: str) -> bool:
        """Returns True if the control counts for its response when that was started in `channel`.

        Otherwise a user who may cancel in one channel could cancel any id.
        """
        return self.channel is None or self.channel == channel


_decode: Final = msgspec.json.Decoder(ControlRecord).decode


def decode_control(value: bytes | None) -> ControlRecord | Invalid:
    """Decodes a value. Never raises. Unknown fields are ignored; the caller should ignore an Invalid too."""
    if not value or len(value) > MAX_CONTROL_BYTES:
        return Invalid(Reason.INVALID, f"the value is empty or over {MAX_CONTROL_BYTES} bytes")
    try:
        record = _decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Invalid(Reason.INVALID, "the value is no control record of version 1")
    if not is_utf8(value):
        return Invalid(Reason.NOT_JSON, "the value is not UTF-8")
    if wrong := check_response_id(record.response_id):
        return wrong
    if record.channel is None:
        return Invalid(Reason.INVALID, "channel is missing") if record.event is ControlEvent.CANCEL else record
    return check_channel(record.channel) or record


def encode_control(record: ControlRecord) -> bytes:
    """Returns the value of one `controls` record. Fields that are None are left out, except the reason."""
    fields: dict[str, object] = {
        "v": record.v,
        "event": record.event,
        "responseId": record.response_id,
        "channel": record.channel,
        "ts": record.ts,
    }
    given = {name: field for name, field in fields.items() if field is not None}
    return orjson.dumps(given | {"reason": record.reason})


_Key = tuple[str, str | None]
"""Response id and channel."""


class Noted(msgspec.Struct, frozen=True, gc=False):
    """A control, and the moment (seconds, of the caller's clock) when it was written."""

    control: ControlRecord
    at: float


class ControlsMemory:
    """Remembers the controls of the last `seconds`, for responses that start after their cancel.

    Of the cancels of one response it remembers the first and the last: a start counts from the last one before it,
    and the first one sets the time for an end. It remembers the controls of at most `most` responses: above that
    the oldest are forgotten. Moments are arguments, in any order.
    """

    __slots__ = ("_most", "_noted", "_seconds")

    def __init__(self, seconds: float = REMEMBERED_SECONDS, most: int = REMEMBERED_CONTROLS) -> None:
        self._seconds = seconds
        self._most = most
        self._noted: OrderedDict[_Key, tuple[Noted, ...]] = OrderedDict()
        """One control, or the first and the last one."""

    def note(self, control: ControlRecord, at: float, now: float) -> bool:
        """Returns whether the control is new: a record that is read a second time, or too old, is not."""
        self._forget(now)
        key = (control.response_id, control.channel)
        known = self._remembered(key, now)
        if now - at > self._seconds or any(each.control.ts == control.ts for each in known):
            return False
        ordered = sorted((*known, Noted(control, at)), key=lambda each: each.at)
        self._noted[key] = (ordered[0], *ordered[1:][-1:])
        self._noted.move_to_end(key)
        if len(self._noted) > self._most:
            self._noted.popitem(last=False)
        return True

    def find(self, response_id: str, channel: str | None, now: float) -> tuple[Noted, ...]:
        """Returns the controls that count for a response of that channel, the oldest of each kind first."""
        found = self._remembered((response_id, channel), now)
        return found if channel is None else (*found, *self._remembered((response_id, None), now))

    def _remembered(self, key: _Key, now: float) -> tuple[Noted, ...]:
        noted = self._noted.get(key)
        return () if noted is None else tuple(each for each in noted if now - each.at <= self._seconds)

    def _forget(self, now: float) -> None:
        while self._noted and now - next(iter(self._noted.values()))[-1].at > self._seconds:
            self._noted.popitem(last=False)

    def __len__(self) -> int:
        return len(self._noted)
