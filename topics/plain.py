"""Reads a plain token, which nearly every record is, in a single step: one more piece of a part's text."""

from typing import Annotated, Any, Final, Literal

import msgspec

from topics.limits import MAX_TIME_MS

__all__ = ["NOT_PLAIN", "PlainToken"]

NOT_PLAIN: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
"""The exceptions of `Decoder.plain`, for every other value."""


class PlainToken(msgspec.Struct, gc=False, rename="camel", frozen=True):
    """The fields of a token, unchecked.

    They equal the result of `Decoder.decode` if the value has at most `MAX_NESTING` bytes and is UTF-8 (msgspec does
    not check unknown fields), `seq` is above 0, `response_id`, `kind` and `part` are known to be valid, and
    `part_info` is absent.
    In that result `kind` and `part` have their defaults; here None means that they are left out.
    """

    event: Literal["token"]
    response_id: str
    text: str
    seq: int | None = None
    ts: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)] | None = None
    part: str | None = None
    kind: str | None = None
    part_info: Any = None
    v: Literal[1] = 1
