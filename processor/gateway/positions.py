"""Positions: the `id:` of an event, and the `Last-Event-ID` of a returning reader.

A position has, for each partition of the frames topic that the reader's channels use, the offset of the last
delivered frame.
Offsets are Kafka's, so any gateway can resume what another one delivered. A position is opaque to readers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_POSITION_LENGTH = 4096
_FORM = re.compile(r"(p|s)1((?:\.[0-9]{1,6}-[0-9]{1,19})*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """`offsets` are by partition; -1 is the position before the first record.

    `whole` is False while the snapshots of a stream are sent: a reader that lost its connection then needs all of
    them again.
    """

    offsets: Mapping[int, int]
    whole: bool = True

    def encode(self) -> str:
        places = "".join(f".{partition}-{offset + 1}" for partition, offset in sorted(self.offsets.items()))
        return ("p1" if self.whole else "s1") + places


def decode_position(text: str) -> StreamPosition | None:
    """Returns None for a text that is no position of this version."""
    if len(text) > MAX_POSITION_LENGTH or (match := _FORM.fullmatch(text)) is None:
        return None
    offsets: dict[int, int] = {}
    for place in match[2].split(".")[1:]:
        partition, _, after = place.partition("-")
        offsets[int(partition)] = int(after) - 1
    return StreamPosition(offsets, whole=match[1] == "p")
