"""The buffer holds the newest frames, and knows exactly which positions it can resume."""

from processor.gateway.buffer import FrameBuffer
from processor.gateway.events import LoggedFrame
from support.gateway_log import read, start, token

MIB = 1024 * 1024


def frame(
    offset: int, channel: str = "a", *, partition: int = 0, seq: int | None = None, written: int = 0
) -> LoggedFrame:
    at = offset if seq is None else seq
    return read(token(at, at, "x", f"r-{channel}", channel), offset, partition, written).logged


def buffer_of(*frames: LoggedFrame, max_bytes: int = MIB, partitions: int = 1) -> FrameBuffer:
    buffer = FrameBuffer(max_bytes)
    for partition in range(partitions):
        buffer.begin(partition, 0)
    for each in frames:
        buffer.add(each)
    return buffer


def offsets(frames: list[LoggedFrame]) -> list[int]:
    return [each.offset for each in frames]


def test_frames_follow_in_the_order_of_the_log() -> None:
    buffer = buffer_of(frame(0), frame(1, "b"), frame(2))
    assert offsets(buffer.following(["a"], 0, 10)) == [0, 2]
    assert offsets(buffer.following(["a", "b"], 0, 10)) == [0, 1, 2]
    assert offsets(buffer.following(["b", "a"], 1, 1)) == [1]
    assert buffer.following(["c"], 0, 10) == []


def test_a_repeat_is_held_once_but_read() -> None:
    buffer = buffer_of(frame(0))
    assert not buffer.add(frame(1, seq=0))
    assert buffer.ends == {0: 1}
    assert len(buffer) == 1


def test_the_same_id_in_another_channel_is_another_frame() -> None:
    first, second = read(start("r", "a"), 0).logged, read(start("r", "b"), 1).logged
    assert len(buffer_of(first, second)) == 2


def test_what_is_trimmed_is_the_oldest() -> None:
    cost = frame(0).cost
    buffer = buffer_of(*(frame(offset, "ab"[offset % 2]) for offset in range(4)), max_bytes=2 * cost)
    assert offsets(buffer.following(["a", "b"], 0, 10)) == [2, 3]
    assert buffer.bytes == 2 * cost


def test_old_frames_are_trimmed_by_the_time_of_the_log() -> None:
    buffer = buffer_of(frame(0, written=10), frame(1, written=20))
    buffer.trim(20)
    assert offsets(buffer.following(["a"], 0, 10)) == [1]


def test_a_trimmed_channel_takes_no_memory() -> None:
    buffer = buffer_of(frame(0, written=10))
    buffer.trim(20)
    assert buffer.bytes == 0
    assert not list(buffer.of_response("a", "r-a"))


def test_positions_from_the_floor_to_the_end_are_held() -> None:
    buffer = buffer_of(frame(0, written=10), frame(1, written=20), frame(2, written=20))
    buffer.trim(20)
    held = [offset for offset in range(-1, 5) if buffer.holds({0: offset}, {0})]
    assert held == [0, 1, 2]


def test_the_position_before_the_first_record_is_held() -> None:
    assert buffer_of().holds({0: -1}, {0})


def test_every_partition_of_the_reader_counts() -> None:
    buffer = buffer_of(frame(0), partitions=2)
    assert not buffer.holds({0: 0}, {0, 1})
    assert buffer.holds({0: 0, 1: -1}, {0, 1})
    assert not buffer.holds({0: 0, 1: 0}, {0, 1})
    assert not buffer.holds({5: 0}, {5})


def test_records_never_seen_end_what_can_be_resumed() -> None:
    buffer = buffer_of(frame(0), frame(1))
    buffer.begin(0, 9)
    assert not buffer.holds({0: 1}, {0})
    assert buffer.holds({0: 8}, {0})


def test_a_reader_reads_on_after_its_place_in_each_partition() -> None:
    buffer = buffer_of(frame(0), frame(1), frame(0, "b", partition=1), frame(2), partitions=2)
    assert buffer.serial_at(["a", "b"], {0: 0, 1: -1}) == 1
    assert buffer.serial_at(["a", "b"], {0: 1, 1: -1}) == 2
    assert buffer.serial_at(["a", "b"], {0: 2, 1: 0}) == buffer.serial
