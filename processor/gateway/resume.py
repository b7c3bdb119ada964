"""Decides how a stream begins: where the reader left off, or with snapshots."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from processor.gateway.buffer import FrameBuffer
from processor.gateway.positions import decode_position


@dataclass(frozen=True, slots=True)
class ResumeAfter:
    """Nothing but the frames after these offsets."""

    offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class BeginWithSnapshots:
    """`returning`: the reader was here before, so it also gets every response that ended lately: one of them may be open to it."""

    returning: bool


def beginning(
    last_event_id: str, partitions: AbstractSet[int], buffer: FrameBuffer
) -> ResumeAfter | BeginWithSnapshots:
    """`last_event_id` is what the reader sent, empty for nothing; `partitions` are those of its channels."""
    if not last_event_id:
        return BeginWithSnapshots(returning=False)
    position = decode_position(last_event_id)
    if position is None or not position.whole or not buffer.holds(position.offsets, partitions):
        return BeginWithSnapshots(returning=True)
    return ResumeAfter({partition: position.offsets[partition] for partition in partitions})
