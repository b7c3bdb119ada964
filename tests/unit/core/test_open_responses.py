"""More open responses than may be end no more than the excess, and never one for what has no start."""

from collections import Counter

import orjson
import pytest

from processor.core.limits import MAX_EARLY_TOKENS, START_LESS_COST, Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.core.response import Phase
from support.world import LogRecord
from topics.codec import Decoder
from topics.records import Reason


class Partition:
    def __init__(self, limits: Limits) -> None:
        self.pipeline = PartitionPipeline(Decoder(), limits)
        self.pipeline.begin(0, 0, clean=True)
        self.end = 0

    def feed(self, *events: dict[str, object]) -> None:
        raws = [LogRecord(self.end + number, orjson.dumps(event)) for number, event in enumerate(events)]
        self.end += len(raws)
        self.pipeline.consume(raws, self.end, 0.0)

    def publish(self) -> list[tuple[str, str | None]]:
        published = []
        for channel in self.pipeline.take_woken():
            while (frame := self.pipeline.next_frame(channel, 0.0)) is not None:
                assert not isinstance(frame, AskHistory)
                published.append((frame.id, frame.data))
                self.pipeline.done(frame, 0.0)
        return published

    def write(self) -> list[Reason]:
        batch = self.pipeline.collect(1)
        self.pipeline.committed(batch, self.pipeline.commit_point(batch, range(len(batch.saves))), 0.0)
        return [letter.reason for letter in batch.dead_letters]

    def phases(self) -> Counter[Phase]:
        return Counter(response.phase for response in self.pipeline.open_responses.values())


def start(response_id: str) -> dict[str, object]:
    return {"event": "start", "responseId": response_id, "seq": 0, "channel": f"of {response_id}"}


def token(response_id: str, seq: int, text: str = "x") -> dict[str, object]:
    return {"event": "token", "responseId": response_id, "seq": seq, "text": text}


def started(limits: Limits, count: int) -> Partition:
    partition = Partition(limits)
    partition.feed(*(start(f"live{number}") for number in range(count)))
    partition.publish()
    partition.write()
    return partition


@pytest.mark.parametrize(("most", "extra"), [(64, 4), (1_000, 20), (1_000, 200), (3, 1)])
def test_no_more_than_the_excess_is_abandoned(most: int, extra: int) -> None:
    partition = started(Limits(open_responses=most), most)
    partition.feed(*(start(f"new{number}") for number in range(extra)))
    assert partition.phases() == {Phase.OPEN: most, Phase.ENDING: extra}


def test_ends_that_are_not_acknowledged_abandon_nothing_more() -> None:
    partition = started(Limits(open_responses=100), 100)
    for number in range(50):
        partition.feed(start(f"new{number}"))
    phases = partition.phases()
    assert phases[Phase.ENDING] <= 50
    assert phases[Phase.OPEN] >= 100


@pytest.mark.costly
def test_records_without_a_start_abandon_nothing() -> None:
    partition = started(Limits(open_responses=600), 500)
    for number in range(9_520):
        partition.feed(token(f"junk{number}", 1, ""))
    assert partition.phases()[Phase.OPEN] == 500
    assert not partition.pipeline.paused


def test_responses_without_a_start_take_bounded_memory_and_the_oldest_leave_first() -> None:
    limits = Limits(buffered=2_000_000)
    partition = started(limits, 10)
    for number in range(2_000):
        partition.feed(token(f"junk{number}", 1, ""))
    waiting = [key for key, each in partition.pipeline.open_responses.items() if each.phase is Phase.AWAITING_START]
    assert 200 < len(waiting) <= limits.low_water // START_LESS_COST
    assert waiting == [f"junk{number}" for number in range(2_000 - len(waiting), 2_000)]
    assert partition.phases()[Phase.OPEN] == 10
    assert partition.write() == [Reason.NO_START] * (2_000 - len(waiting))


def test_what_has_no_start_costs_nothing_once_it_has_come_or_is_given_up() -> None:
    partition = Partition(Limits())
    partition.feed(token("a", 2), token("a", 1), token("b", 1))
    assert partition.pipeline.status().buffered_bytes > 2 * START_LESS_COST
    partition.feed(start("a"), *(token("b", seq) for seq in range(2, MAX_EARLY_TOKENS + 2)))
    partition.publish()
    partition.pipeline._intake.advancer.give_up(partition.pipeline.open_responses["b"], 0.0)
    partition.write()
    assert partition.pipeline.status().buffered_bytes == 0


def test_what_has_no_start_gives_up_no_gap_of_what_has_one() -> None:
    partition = started(Limits(buffered=1_000_000), 1)
    partition.feed(token("live0", 2, "y" * 3_000))
    for number in range(500):
        partition.feed(token(f"junk{number}", 1, "z" * 2_000))
    partition.feed(token("live0", 1, "first "))
    assert [data for _, data in partition.publish()] == ["first " + "y" * 3_000]


def test_what_the_fetch_holds_of_a_response_counts_before_the_idlest_are_looked_for() -> None:
    partition = started(Limits(open_responses=3), 3)
    partition.feed(token("live1", 1), token("live2", 1))
    partition.feed(
        token("live0", 1, "one "), token("live0", 2, "two "), start("new0"), start("new1"), token("live0", 3, "three ")
    )
    assert partition.pipeline.open_responses["live0"].live
    assert not partition.pipeline.open_responses["live1"].live
    assert [data for key, data in partition.publish() if key.startswith("live0")] == ["one two three "]


def test_the_last_tokens_of_what_is_abandoned_come_before_its_stop() -> None:
    partition = started(Limits(open_responses=2), 2)
    fetched = [token("live0", 1, "one "), token("live0", 2, "two "), start("new0"), token("live0", 3, "three ")]
    partition.feed(*fetched, *(token("live1", seq) for seq in range(1, 3)), start("new1"))
    published = partition.publish()
    partition.write()
    published += partition.publish()
    ids = [key for key, _ in published if key.startswith("live0")]
    assert [key.rsplit("/", 2)[1] for key in ids] == ["1-3", "4-4"]
    assert partition.write() == []
