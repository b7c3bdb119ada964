"""What full memory gives up is the same for a successor; more open responses than may be end the idlest."""

import itertools
from collections.abc import Iterator
from time import process_time

import orjson
import pytest

from processor.core.limits import Limits, allowances
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.core.response import Early
from support.world import LogRecord
from topics.codec import Decoder

BIG = "x" * 200_000
WHOLE = Limits()


def start(response_id: str, channel: str | None = None) -> dict[str, object]:
    return {"event": "start", "responseId": response_id, "seq": 0, "channel": channel or response_id}


def token(response_id: str, seq: int, text: str) -> dict[str, object]:
    return {"event": "token", "responseId": response_id, "seq": seq, "text": text}


def log_of(*events: dict[str, object]) -> list[LogRecord]:
    return [LogRecord(offset, orjson.dumps(fields)) for offset, fields in enumerate(events)]


def publish(pipeline: PartitionPipeline, channel: str) -> str:
    text = ""
    while (frame := pipeline.next_frame(channel, 1.0)) is not None:
        if isinstance(frame, AskHistory):
            pipeline.history(channel, {}, 1.0)
            continue
        text += frame.data if frame.name == "token" and frame.data else ""
        pipeline.done(frame, 1.0)
    return text


def write(pipeline: PartitionPipeline) -> None:
    batch = pipeline.collect(1)
    pipeline.committed(batch, pipeline.commit_point(batch, range(len(batch.saves))), 1.0)


REORDERED = log_of(
    start("r"),
    token("r", 2, "second " + BIG),
    start("b"),
    token("b", 2, BIG),
    token("r", 1, "first "),
    token("b", 1, ""),
)


@pytest.mark.parametrize("cut", range(1, 6))
@pytest.mark.parametrize(
    "shares",
    [
        (WHOLE, WHOLE.share(100)),
        (WHOLE.share(100), WHOLE.share(100)),
        (WHOLE.share(100), WHOLE),
        (Limits(buffered=1_300_000), Limits(buffered=1_300_000)),
        (Limits(buffered=500_000), Limits(buffered=500_000)),
        (Limits(buffered=500_000).share(3), Limits(buffered=500_000).share(12)),
    ],
)
def test_a_successor_gives_up_nothing_that_was_published(cut: int, shares: tuple[Limits, Limits]) -> None:
    first = PartitionPipeline(Decoder(), shares[0])
    first.begin(0, 0, clean=True)
    first.consume(REORDERED, 6, 0.0)
    shown = publish(first, "r")  # and a crash, with nothing durable
    second = PartitionPipeline(Decoder(), shares[1])
    second.begin(0, 6, clean=False)
    text = ""
    for fetched in (REORDERED[:cut], REORDERED[cut:]):
        assert not second.paused
        second.consume(fetched, fetched[-1].offset + 1, 0.0)
        text += publish(second, "r")
        write(second)
        text += publish(second, "r")
    assert text.startswith(shown)


def test_nothing_is_read_of_a_fetch_while_too_much_is_undetermined() -> None:
    pipeline = PartitionPipeline(Decoder(), Limits(buffered=300_000))
    pipeline.begin(0, 0, clean=True)
    rest = pipeline.consume(REORDERED, 6, 0.0)
    assert [raw.offset for raw in rest] == [4, 5]
    assert pipeline.position == 4
    assert pipeline.paused
    assert pipeline.consume(rest, 6, 0.0) == rest
    publish(pipeline, "r")
    publish(pipeline, "b")
    write(pipeline)
    publish(pipeline, "r")
    publish(pipeline, "b")
    assert not pipeline.paused
    assert not pipeline.consume(rest, 6, 0.0)
    assert pipeline.position == 6


def test_a_successor_gives_up_gaps_where_every_predecessor_had_stopped() -> None:
    limits = Limits(buffered=300_000)
    first = PartitionPipeline(Decoder(), limits)
    first.begin(0, 0, clean=True)
    first.consume(REORDERED, 6, 0.0)
    assert publish(first, "r") + publish(first, "b") == "", "the gaps are not durable"
    second = PartitionPipeline(Decoder(), limits)
    second.begin(0, 6, clean=False)
    second.consume(REORDERED[:3], 3, 0.0)
    assert second.open_responses["r"].early, "as much may have waited in the first"
    rest = second.consume(REORDERED[3:], 6, 0.0)
    assert [raw.offset for raw in rest] == [4, 5]
    assert not second.open_responses["r"].early


def test_what_came_before_its_start_ends_no_wait_of_a_successor_before_twice_as_much_waits() -> None:
    log = log_of(*(event for name in "rstuvw" for event in (token(name, 2, BIG), start(name))))
    pipeline = PartitionPipeline(Decoder(), Limits(buffered=500_000).share(2))
    pipeline.begin(0, len(log) + 1, clean=False)
    assert not pipeline.consume(log[:8], 8, 0.0)
    assert [name for name, response in pipeline.open_responses.items() if response.early] == ["r", "s", "t", "u"]
    pipeline.consume(log[8:], 12, 0.0)
    assert not pipeline.open_responses["r"].early


def test_owners_have_the_same_room_for_what_a_predecessor_read_however_it_is_split() -> None:
    assert {Limits(buffered=20_000).share(count).whole_low_water for count in range(1, 40)} == {10_000}


def test_a_partition_beyond_its_share_is_relieved_once_all_that_was_published_is_read() -> None:
    pipeline = PartitionPipeline(Decoder(), WHOLE.share(100))
    pipeline.begin(0, 4, clean=False)
    pipeline.consume(REORDERED[:3], 3, 0.0)
    assert len(pipeline.open_responses["r"].early) == 1
    pipeline.consume(REORDERED[3:4], 4, 0.0)
    assert pipeline._intake.early.bytes <= pipeline.limits.low_water


@pytest.mark.costly
def test_beyond_the_bound_the_idlest_of_the_open_responses_are_abandoned() -> None:
    limits = Limits(open_responses=100)
    pipeline = PartitionPipeline(Decoder(), limits)
    pipeline.begin(0, 0, clean=True)
    offsets = itertools.count()
    finals = []
    for number in range(1_000):
        events = [start(f"r{number}", "c"), token("r0", number + 1, "x")]
        fed = [LogRecord(next(offsets), orjson.dumps(fields)) for fields in events]
        pipeline.consume(fed, fed[-1].offset + 1, 0.0)
        publish(pipeline, "c")
        batch = pipeline.collect(1)
        pipeline.committed(batch, pipeline.commit_point(batch, range(len(batch.saves))), 0.0)
        publish(pipeline, "c")
        finals += [save.record for save in batch.saves if save.record.finished]
        assert pipeline.live_responses <= limits.open_responses + 1
    assert pipeline.open_responses["r0"].tokens == 1_000, "the active one goes on"
    assert {record.reason for record in finals} == {"abandoned"}
    ended = [int(record.response_id[1:]) for record in finals]
    assert sorted(ended) == list(range(1, len(ended) + 1)), "the oldest first"
    assert len(ended) >= 898


def test_partitions_share_what_may_be_open_by_what_they_have() -> None:
    assert allowances([0, 0, 0, 0], 100) == [25, 25, 25, 25]
    assert allowances([60, 20, 0, 0], 100) == [65, 25, 25, 25]
    assert allowances([90, 10, 0, 0], 100) == [90, 25, 25, 25], (
        "a full process has room for who has less than an even share"
    )
    assert allowances([90, 20, 0, 0], 100) == [80, 25, 25, 25], "at the cost of who has most"
    assert allowances([0, 0, 0], 2) == [1, 1, 1]
    assert allowances([], 100) == []


@pytest.mark.costly
def test_starts_that_can_not_be_published_pause_the_partition() -> None:
    pipeline = PartitionPipeline(Decoder(), Limits())
    pipeline.begin(0, 0, clean=True)
    for number in range(100_000):
        if pipeline.paused:
            break
        pipeline.consume([LogRecord(number, orjson.dumps(start(f"r{number}")))], number + 1, 0.0)
    assert number < 10_000
    for channel in pipeline.take_woken():
        publish(pipeline, channel)
    assert not pipeline.paused
    assert pipeline.status().buffered_bytes == 0


class Looks(dict[int, Early]):
    """Early tokens that count how often one of them is looked at in a search."""

    count = 0

    def __iter__(self) -> Iterator[int]:
        for seq in super().__iter__():
            self.count += 1
            yield seq


def test_a_gap_that_is_filled_from_below_is_linear_in_what_waits() -> None:
    pipeline = PartitionPipeline(Decoder(), Limits())
    pipeline.begin(0, 0, clean=True)
    waiting = 1_000
    held = log_of(start("r"), *(token("r", seq, "x") for seq in range(waiting + 1, 2 * waiting + 1)))
    pipeline.consume(held, len(held), 0.0)
    response = pipeline.open_responses["r"]
    looks = response.early = Looks(response.early)
    for seq in range(1, waiting + 1):
        at = len(held) + seq - 1
        pipeline.consume([LogRecord(at, orjson.dumps(token("r", seq, "x")))], at + 1, 0.0)
    assert not response.early
    assert looks.count <= 4 * waiting


@pytest.mark.costly
def test_repeats_of_a_response_with_many_gaps_are_linear() -> None:
    def seconds(gaps: int) -> float:
        pipeline = PartitionPipeline(Decoder(), Limits())
        pipeline.begin(0, 0, clean=True)
        raws = log_of(start("r"), *(token("r", 2 * seq, "x") for seq in range(1, gaps)))
        for raw in raws:
            pipeline.consume([raw], raw.offset + 1, 0.0)
            if raw.offset:
                pipeline._intake.advancer.give_up(pipeline.open_responses["r"], 0.0)
        copies = [LogRecord(gaps + raw.offset, raw.value) for raw in raws]
        began = process_time()
        pipeline.consume(copies, 2 * gaps, 0.0)
        return process_time() - began

    assert seconds(8_000) < 40 * seconds(800) + 0.1, "quadratic would be a hundred times as long"
