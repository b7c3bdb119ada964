"""What a partition keeps is counted, and released when it is durable; decisions and cuts are the same for a successor."""

import json
from typing import Any

from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from support.world import LogRecord
from topics.codec import Decoder, decode_response, encode_response

CLOCK = 1_700_000_000_000


class Partition:
    """A pipeline with a log and a channel that acknowledges at once."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.pipeline = PartitionPipeline(Decoder(), limits or Limits())
        self.pipeline.restore([], 0, 0.0)
        self.pipeline.begin(0, 0, clean=True)
        self.log: list[LogRecord] = []
        self.records: list[tuple[str, bytes]] = []
        self.frames: list[Frame] = []

    def feed(self, *values: bytes, now: float = 0.0) -> None:
        fed = [LogRecord(len(self.log) + number, value) for number, value in enumerate(values)]
        self.log += fed
        self.pipeline.consume(fed, len(self.log), now)

    def publish(self, now: float = 0.0) -> None:
        woken = set(self.pipeline.take_woken())
        while woken:
            channel = woken.pop()
            while (frame := self.pipeline.next_frame(channel, now)) is not None:
                assert not isinstance(frame, AskHistory)
                self.frames.append(frame)
                self.pipeline.done(frame, now)
            woken |= set(self.pipeline.take_woken())

    def write(self, now: float = 0.0) -> tuple[int, int]:
        for _, offset in self.pipeline.texts_wanted():
            self.pipeline.read_back(decode_response(self.records[offset][1]))
        batch = self.pipeline.collect(CLOCK)
        offsets = list(range(len(self.records), len(self.records) + len(batch.saves)))
        point = self.pipeline.commit_point(batch, offsets)
        self.records += [(save.record.response_id, encode_response(save.record)) for save in batch.saves]
        self.pipeline.committed(batch, point, now)
        return point.offset, point.restore


def start(response_id: str, **fields: Any) -> bytes:
    return json.dumps({"event": "start", "responseId": response_id, "seq": 0, "channel": "c", **fields}).encode()


def token(response_id: str, seq: int, text: str, **fields: Any) -> bytes:
    return json.dumps({"event": "token", "responseId": response_id, "seq": seq, "text": text, **fields}).encode()


def stop(response_id: str, seq: int) -> bytes:
    return json.dumps({"event": "stop", "responseId": response_id, "seq": seq}).encode()


def test_whole_records_are_counted_until_they_are_acknowledged() -> None:
    partition = Partition(Limits(buffered=100_000))
    partition.feed(start("a"), *(token("a", seq, "x", logprobs="z" * 5_000) for seq in range(1, 41)))
    assert partition.pipeline.paused
    partition.publish()
    assert partition.pipeline.status().buffered_bytes == 0
    partition.feed(*(start(f"r{number}", metadata={"m": "z" * 10_000}) for number in range(20)))
    assert partition.pipeline.paused


def test_ended_responses_are_counted_until_they_are_committed() -> None:
    partition = Partition(Limits(buffered=50_000))
    for number in range(100):
        partition.feed(start(f"r{number}"), token(f"r{number}", 1, "x" * 1_000), stop(f"r{number}", 2))
        partition.publish()
    assert partition.pipeline.paused
    partition.write()
    assert not partition.pipeline.paused
    assert partition.pipeline.status().buffered_bytes == 0


def test_ends_behind_a_frame_that_is_never_answered_take_little_room_and_pause_in_the_end() -> None:
    limits = Limits(finals=10, ended=1_000)
    partition = Partition(limits)
    partition.feed(start("stuck", channel="stuck"))
    assert partition.pipeline.next_frame("stuck", 0.0) is not None
    committed = restore = most = 0
    for number in range(2_000):
        partition.feed(start(f"r{number}"), stop(f"r{number}", 1))
        partition.publish()
        committed, restore = partition.write()
        most = max(most, len(partition.pipeline._write_queue.finished))
        if partition.pipeline.paused:
            break
    assert (committed, restore) == (0, 0), "a successor reads all of it again, and knows it"
    assert 1_000 <= number < 1_100
    assert most <= limits.finals + 1
    frame = partition.pipeline._outflow.frames_in_flight()[0]
    partition.pipeline.done(frame, 0.0)
    partition.pipeline.snapshot_all()
    committed, restore = partition.write()
    assert committed == len(partition.log)
    assert not partition.pipeline.paused


def test_dead_letters_are_counted_until_they_are_committed() -> None:
    partition = Partition(Limits(buffered=10_000))
    partition.feed(*(b"{" + b"x" * 2_000 for _ in range(10)))
    assert partition.pipeline.paused
    partition.write()
    assert partition.pipeline.status().buffered_bytes == 0


def test_texts_that_left_memory_are_not_counted_for_ever() -> None:
    partition = Partition(Limits(transcript=500))
    for number in range(20):
        name = f"r{number}"
        partition.feed(start(name), token(name, 1, "x" * 1_000))
        partition.publish()
        partition.pipeline.snapshot_all()
        partition.write()
        partition.feed(token(name, 2, "y"), stop(name, 3))
        partition.publish()
        for _ in range(3):
            partition.write()
    assert partition.pipeline.status().open_responses == 0
    assert partition.pipeline.status().transcript_bytes == 0
    finals = {key: decode_response(value) for key, value in partition.records}
    assert all(record.text == "x" * 1_000 + "y" for record in finals.values())


def test_restore_never_passes_a_final_that_was_written_before_an_older_one() -> None:
    partition = Partition(Limits(transcript=500))
    partition.feed(start("a"), token("a", 1, "x" * 1_000))
    partition.publish()
    partition.pipeline.snapshot_all()
    partition.write()  # a's text leaves memory
    partition.feed(start("hold"), start("b"), stop("a", 2), stop("b", 1))
    partition.publish()
    partition.write()
    partition.write()
    _, restore = partition.write()
    finals = [offset for offset, (_, value) in enumerate(partition.records) if decode_response(value).finished]
    assert restore <= min(finals)


def test_a_65th_part_costs_one_gap_and_bounded_room() -> None:
    partition = Partition()
    parts = [token("a", seq, "x", part=f"p{seq}", kind="tool_call") for seq in range(1, 65)]
    beyond = [token("a", seq, "x", part=f"p{seq}", kind="tool_call") for seq in range(65, 1_065)]
    partition.feed(start("a"), *parts, *beyond, stop("a", 1_065))
    partition.publish()
    partition.write()
    record = decode_response(partition.records[-1][1])
    assert record.gaps == ((65, 1_064),)
    assert len(record.parts) == 64


def test_a_half_given_up_by_a_decision_waits_until_that_is_durable() -> None:
    partition = Partition(Limits(gap_timeout=1))
    partition.feed(start("a"), token("a", 1, "x\ud83d"), token("a", 3, "late"))
    partition.publish()
    partition.pipeline.tick(2.0)
    partition.pipeline.end_offset(2.0, len(partition.log), 2.0)
    partition.publish(2.0)
    assert [frame.name for frame in partition.frames] == ["start"], "the half is not decided durably yet"
    partition.write(2.0)
    partition.publish(2.0)
    assert [frame.data for frame in partition.frames[1:]] == ["x\ufffd", '{"from":2,"to":2}', "late"]


def test_oversize_tokens_are_cut_in_the_same_places_after_other_refusals() -> None:
    """A channel that takes 40 kB: what one relay learnt from another token must not move the cuts of this one."""

    def pieces(*before: str) -> list[str]:
        partition = Partition()
        texts = [*before, "y" * 58_000]
        partition.feed(start("a"), *(token("a", seq, text) for seq, text in enumerate(texts, 1)))
        cut: list[str] = []
        while (frame := partition.pipeline.next_frame("c", 0.0)) is not None:
            assert isinstance(frame, Frame)
            if len(frame.data or "") > 40_000:
                partition.pipeline.too_large(frame, 1, 0.0)
                continue
            partition.pipeline.done(frame, 0.0)
            if frame.data and frame.data[0] == "y":
                cut.append(f"{frame.headers['seqEnd']}+{len(frame.data)}")
        return [piece.split("+")[1] for piece in cut]

    assert pieces() == pieces("x" * 50_000) == pieces("x" * 41_000)


def test_the_size_of_a_response_is_known_after_a_takeover() -> None:
    limits = Limits(response=100_000, snapshot_interval=0.1)
    before = Partition(limits)
    infos = [
        token("a", seq, "x", part=f"p{seq}", kind="tool_call", partInfo={"i": "z" * 8_000}) for seq in range(1, 11)
    ]
    before.feed(start("a", metadata={"m": "z" * 8_000}), *infos)
    before.publish()
    before.pipeline.snapshot_all()
    before.write()
    after = Partition(limits)
    after.records = list(before.records)
    entries = [(offset, key, decode_response(value)) for offset, (key, value) in enumerate(before.records)]
    after.pipeline.restore(entries, len(entries), 0.0)
    after.log = list(before.log)
    after.pipeline.begin(len(after.log), 0, clean=True)
    after.feed(*(token("a", seq, "w" * 5_000, part="p1", kind="tool_call") for seq in range(11, 21)))
    after.publish()
    after.write()
    after.publish()
    after.write()
    assert len(after.records[-1][1]) <= 100_000
    assert decode_response(after.records[-1][1]).reason == "too_large"
