"""The state of one response in OpenAI's format between two of its records: a small frozen value, stored as JSON.

No text in it has a lone surrogate, so every JSON library can write and read it.
"""

import zlib
from typing import Final

import msgspec

from topics.codec import TokenRecord
from topics.records import JsonObject

MAX_CHOICES: Final = 64
"""Choices of a response that are followed. Text of further ones is dropped and counted."""
MAX_HELD_BYTES: Final = 16 * 1024
"""Of all arguments and ids that wait for a function's name. Beyond it a call is shown without its name."""


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the choices of a request. `reason` is null until it finished; `given` is the reason as sent."""

    index: int
    reason: str | None = None
    given: str = ""


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of a text was given in deltas: enough to find what a repetition of the whole text adds."""

    length: int = 0
    """In UTF-16 code units."""
    checksum: int = 0

    def plus(self, text: str) -> "Given":
        encoded = _utf16(text)
        return Given(self.length + len(encoded) // 2, zlib.crc32(encoded, self.checksum))

    def rest(self, whole: str) -> str:
        """Returns the rest of the whole text that was not given; empty if it does not begin with what was given."""
        encoded = _utf16(whole)
        if zlib.crc32(encoded[: 2 * self.length]) != self.checksum:
            return ""
        return encoded[2 * self.length :].decode("utf-16-le", "surrogatepass")


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool call. It waits without a part until its function's name is known."""

    choice: int
    index: int | None = None
    """The label of later deltas. None where none was sent, or where a newer call has the same."""
    label: str = ""
    """Its id, or the hash of one that is long or is not text."""
    part: str = ""
    held: str = ""
    """Arguments that wait: the inside of a JSON string in ASCII, where halves of surrogate pairs are escapes."""
    given_id: str = ""
    """The id for `partInfo`, while the call waits."""
    given: Given = Given()
    """Arguments so far, counted where a later event repeats all of them."""
    dropped: bool = False
    """Whether it is beyond the bound on parts. Its deltas are dropped."""

    @property
    def waits(self) -> bool:
        return not self.part and not self.dropped


class CallSlot(msgspec.Struct, frozen=True):
    """Which part a text of the Responses API goes to. `key` is made of its kind and its indexes."""

    key: str
    part: str
    given: Given = Given()


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """One response up to and including some record. Equal states give equal answers to equal records."""

    parts: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    calls: tuple[Call, ...] = ()
    slots: tuple[CallSlot, ...] = ()
    usage: JsonObject | None = None
    usage_seen: bool = False
    """Whether usage came with a finish or after one."""
    ended: bool = False

    @property
    def finished(self) -> bool:
        """Whether every choice seen has finished, so that the response ends after the gap timeout if nothing else ends it."""
        return not self.ended and bool(self.choices) and all(each.reason is not None for each in self.choices)


class Step(msgspec.Struct, frozen=True):
    """The result of one record: the next state, and its token events, without numbers and times."""

    state: State
    records: tuple[TokenRecord, ...] = ()
    dropped: int = 0
    """Deltas of parts or choices beyond the bounds."""
    late: bool = False
    """Whether the record has text after the end of its response."""


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")
