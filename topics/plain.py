"""The plain token, as nearly every record is: one more piece of a part's text. Read in a single step."""

from typing import Annotated, Any, Final, Literal

import msgspec

from topics.limits import MAX_TIME_MS

__all__ = ["NOT_PLAIN", "PlainToken"]

NOT_PLAIN: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
"""What `Decoder.plain` raises for every other value."""


class PlainToken(msgspec.Struct, gc=False, rename="camel", frozen=True):
    """What a token says, unchecked: `Decoder.decode` would say the same of the value where its size is at most
    `MAX_NESTING` bytes, all of it is UTF-8 (msgspec does not look inside unknown fields), `seq` is above 0, and
    `response_id`, `kind` and `part` are known to be good and `part_info` is absent. There `kind` and `part` have their
    defaults; here None says that they are left out.
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
