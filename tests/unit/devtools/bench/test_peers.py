"""Every token that a subscriber of a peer received is judged, and the peer is configured as the page describes."""

import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from devtools.bench.centrifugo import configuration
from devtools.bench.load import Load
from devtools.bench.peer_observe import Arrived, Judged, Order, Record, judge
from devtools.bench.peers import PEER, measured, used
from devtools.bench.produce import Times
from devtools.bench.results import Unsound
from devtools.usage import Sample, Sampler

LOAD = Load(name="l", responses=1, tokens=4, open=1, channels=1)
COUNT = len(LOAD.texts(0))


def record(seq: int) -> Record:
    event = "start" if seq == 0 else "stop" if seq > COUNT else "token"
    return Record(response_id=LOAD.response_id(0), seq=seq, event=event)


def judged(*numbers: int) -> Judged:
    found = Judged(LOAD)
    for moment, seq in enumerate(numbers):
        found.take(float(moment), record(seq))
    return found


def test_what_came_once_and_in_order_is_no_fault() -> None:
    found = judged(*range(COUNT + 2))
    assert (found.lost(), found.repeated, found.reordered) == (0, 0, 0)


def test_lost_repeated_and_reordered_tokens_are_counted() -> None:
    found = judged(0, 2, 1, 1, *range(4, COUNT + 2))
    assert (found.lost(), found.repeated, found.reordered) == (1, 1, 1)


def test_records_of_other_loads_are_ignored() -> None:
    found = judged()
    found.take(0.0, Record(response_id="other-1-0", seq=1, event="token"))
    assert found.lost() == COUNT


def push(seq: int) -> str:
    data = {"responseId": LOAD.response_id(0), "seq": seq, "event": record(seq).event}
    return json.dumps({"push": {"channel": LOAD.channel(0), "pub": {"data": data}}})


def test_a_record_that_comes_repeatedly_takes_the_place_of_none_that_is_missing() -> None:
    kept = [(0.0, push(0)) for _ in range(COUNT + 2)]
    arrived = Arrived(LOAD, [kept, []])
    assert not arrived.all()
    kept += [(1.0, push(seq)) for seq in range(1, COUNT + 1)]
    assert not arrived.all()
    kept.append((2.0, "\n".join(push(seq) for seq in (COUNT, COUNT + 1))))
    assert arrived.all()


def samples(*taken: Sample) -> Sampler:
    sampler = Sampler({PEER: 0})
    sampler.samples[PEER] += taken
    return sampler


SAMPLED = samples(Sample(0.0, 1, 0.25), Sample(9.0, 1, 1.25))


@pytest.fixture
def times(tmp_path: Path) -> str:
    """Returns a file by which record n was handed over at n seconds."""
    noted = Times(LOAD)
    for seq in range(COUNT + 2):
        noted.note(0, float(seq))
    noted.write(tmp_path / "times")
    return str(tmp_path / "times")


def seen(times: str, *texts: str) -> dict[str, Any]:
    return judge(Order(endpoint="", load=LOAD, times=times), [(3.0 + at, text) for at, text in enumerate(texts)])


def test_a_backlog_that_came_whole_has_figures(times: str) -> None:
    found = measured(LOAD, seen(times, *map(push, range(COUNT + 2))), SAMPLED, 0.0, 3.0)
    assert (found.tokens, found.cpu, found.seconds) == (COUNT, 1.0, float(COUNT))


def test_lost_tokens_give_no_figures_except_those_of_a_kill(times: str) -> None:
    some = seen(times, *map(push, range(COUNT)))
    with pytest.raises(Unsound, match=f"Of {COUNT} tokens, 1 were lost"):
        measured(LOAD, some, SAMPLED, 0.0, 3.0)
    assert measured(LOAD, some, SAMPLED, 0.0, 3.0, killed=True).lost == 1


def test_records_that_were_read_before_their_channel_was_subscribed_to_give_no_figures(times: str) -> None:
    publications = [json.loads(push(seq))["push"]["pub"] for seq in (0, 1)]
    subscribed = json.dumps({"id": 2, "subscribe": {"recovered": True, "publications": publications}})
    whole = seen(times, subscribed, *map(push, range(2, COUNT + 2)))
    with pytest.raises(Unsound, match="2 had been read before"):
        measured(LOAD, whole, SAMPLED, 0.0, 3.0)


def test_processor_time_is_between_the_last_sample_before_and_the_last() -> None:
    sampler = samples(Sample(1.0, 0, 0.25), Sample(2.0, 0, 0.5), Sample(3.0, 0, 1.5))
    assert used(sampler, PEER, 2.5, 2.75) == 1.0


@pytest.mark.parametrize("sampler", [samples(), samples(Sample(2.0, 0, 0.25), Sample(3.0, 0, 1.5))])
def test_processor_time_is_unknown_without_a_sample_from_before_the_first_token(sampler: Sampler) -> None:
    with pytest.raises(Unsound, match="before its processor time was first sampled"):
        used(sampler, PEER, 0.0, 1.0)


def test_tokens_without_processor_time_give_no_figures() -> None:
    with pytest.raises(Unsound, match="no processor time"):
        used(samples(Sample(0.0, 0, 0.25), Sample(3.0, 0, 0.25)), PEER, 0.0, 1.0)


def test_latencies_are_from_handing_over_until_a_subscriber_had_it(times: str) -> None:
    kept = [(3.0 + at, push(seq)) for at, seq in enumerate(range(1, COUNT + 1))]
    found = judge(Order(endpoint="", load=LOAD, times=times), [*kept, (0.0, '{"id":1,"connect":{}}')])
    assert found["lost"] == 0
    assert found["latency"]["p50"] == 2.0
    assert found["first_token"]["p50"] == 3.0
    assert array("d", [found["first"], found["last"]]) == array("d", [3.0, 2.0 + COUNT])


def test_the_peer_reads_the_topic_and_takes_channels_from_the_records_header() -> None:
    made = configuration("host:1", ["topic"], "group", 8000)
    assert made["client"]["queue_max_size"] > 100 * 2**20, "a connection that is behind by a backlog is not ended"
    (consumer,) = made["consumers"]
    assert consumer["kafka"]["topics"] == ["topic"]
    assert consumer["kafka"]["publication_data_mode"] == {"enabled": True, "channels_header": "channels"}
