"""The limits of the public formats, and the checks that both the decoder and the producer apply."""

import re
from typing import Final, Protocol

import msgspec

from topics.records import TEXT_PART, Reason

MAX_TEXT_BYTES: Final = 256 * 1024
"""Of one token's `text`, measured in UTF-8 bytes after JSON escapes are undone."""
MAX_OBJECT_BYTES: Final = 16 * 1024
"""Of `metadata`, `usage`, `error` and `partInfo`, each, encoded as compact UTF-8 JSON."""
MAX_OBJECT_DEPTH: Final = 32
"""Of the same: an object of plain values has depth 1."""
MAX_RESPONSE_ID_BYTES: Final = 256
MAX_CHANNEL_BYTES: Final = 1024
"""Of UTF-8. Percent-encoded, a channel has at most three times as many in a URL."""
MAX_PARTS: Final = 64
"""Parts a response may have; a token of a further part is dead-lettered."""
MAX_PART_CHARACTERS: Final = 64
MAX_KIND_CHARACTERS: Final = 32
MAX_SEQ: Final = 2**53 - 1
"""The largest integer every JSON reader keeps exact."""
MAX_TIME_MS: Final = 2**53 - 1
"""Of `ts`, and of every other time in milliseconds since the epoch."""
KIND_PATTERN: Final = re.compile(rf"[a-z0-9_.-]{{1,{MAX_KIND_CHARACTERS}}}")

SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
"""A lone surrogate. In a Python string every surrogate is lone."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class ChannelPattern(Protocol):
    """A compiled regular expression. Its time should be linear in the text, which producers choose."""

    def fullmatch(self, text: str, /) -> object | None: ...


class Invalid(msgspec.Struct, frozen=True):
    """Why a value is not a record. `detail` is for people, names the field, and never quotes token text."""

    reason: Reason
    detail: str
    refused_start: tuple[str, str] | None = None
    """(responseId, channel) of a start that is correct except for its channel, which is not allowed."""


def check_response_id(response_id: str) -> Invalid | None:
    if not response_id or response_id in (".", ".."):
        return Invalid(Reason.INVALID, "responseId is empty or made of dots")
    if _CONTROL.search(response_id) or SURROGATE.search(response_id):
        return Invalid(Reason.INVALID, "responseId holds a control character or half a surrogate pair")
    if len(response_id.encode()) > MAX_RESPONSE_ID_BYTES:
        return Invalid(Reason.TOO_LARGE, f"responseId is over {MAX_RESPONSE_ID_BYTES} bytes")
    return None


def check_channel(channel: str, pattern: ChannelPattern | None = None) -> Invalid | None:
    """Checks a channel name: one that Ably accepts and the operator allows.

    Ably would read `[` as channel parameters, and `:` as an empty namespace.
    """
    if not channel or channel[0] in "[:":
        return Invalid(Reason.INVALID, "channel is empty or begins with [ or :")
    if _CONTROL.search(channel) or SURROGATE.search(channel):
        return Invalid(Reason.INVALID, "channel holds a control character or half a surrogate pair")
    if len(channel.encode()) > MAX_CHANNEL_BYTES:
        return Invalid(Reason.INVALID, f"channel is over {MAX_CHANNEL_BYTES} bytes")
    if pattern is not None and pattern.fullmatch(channel) is None:
        return Invalid(Reason.CHANNEL_FORBIDDEN, "channel does not match CHANNEL_PATTERN")
    return None


def check_part(part: str, kind: str) -> Invalid | None:
    if not part or SURROGATE.search(part):
        return Invalid(Reason.INVALID, "part is empty or holds half a surrogate pair")
    if len(part) > MAX_PART_CHARACTERS:
        return Invalid(Reason.TOO_LARGE, f"part is over {MAX_PART_CHARACTERS} characters")
    if part == TEXT_PART and kind != TEXT_PART:
        return Invalid(Reason.INVALID, "part text has another kind than text")
    return None
