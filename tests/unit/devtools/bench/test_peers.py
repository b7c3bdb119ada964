"""Every token that a subscriber of a peer received is judged, and the peer is configured as the page describes."""

import json
from pathlib import Path

import pytest

from devtools.bench.centrifugo import configuration
from devtools.bench.load import Load
from devtools.bench.peer_observe import Arrived, Delivered, Order, Received, Record, judge
from devtools.bench.peers import PEER, measured, used
from devtools.bench.produce import Times
from devtools.bench.results import Unsound
from devtools.judge.texts import Tally
from devtools.usage import Sample, Sampler

LOAD = Load(name="l", responses=1, tokens=4, open=1, channels=1)
COUNT = len(LOAD.texts(0))


def record(seq: int) -> Record:
    event = "start" if seq == 0 else "stop" if seq > COUNT else "token"
    return Record(response_id=LOAD.response_id(0), seq=seq, event=event, text=text_of(seq))


def text_of(seq: int) -> str:
    return LOAD.texts(0)[seq - 1] if 0 < seq <= COUNT else ""


def judged(*records: Record) -> Tally:
    received = Received(LOAD)
    for moment, each in enumerate(records):
        received.take(float(moment), each)
    return received.judge()


def counts(tally: Tally) -> tuple[set[int], int, int]:
    """Returns the lost tokens, and the numbers of repeated and reordered ones."""
    return {seq for _, seq in tally.lost}, tally.repeated_as_published, tally.out_of_order


def test_what_came_once_and_in_order_is_no_fault() -> None:
    found = judged(*map(record, range(COUNT + 2)))
    assert (counts(found), found.problems) == ((set(), 0, 0), [])


@pytest.mark.parametrize(
    ("order", "wrong"),
    [
        ((0, 1, 2, 4), ({3}, 0, 0)),
        ((0, 1, 2, 2, 3, 1, 4), (set(), 2, 0)),
        ((0, 2, 1, 3, 4), (set(), 0, 1)),
        ((0, 2, 1, 1, 4), ({3}, 1, 1)),
    ],
)
def test_lost_repeated_and_reordered_tokens_are_counted(order: tuple[int, ...], wrong: object) -> None:
    rest = range(5, COUNT + 2)
    assert counts(judged(*map(record, (*order, *rest)))) == wrong


def test_a_token_with_the_text_of_another_is_lost() -> None:
    other = Record(response_id=LOAD.response_id(0), seq=2, event="token", text="other")
    found = judged(record(0), record(1), other, *map(record, range(3, COUNT + 2)))
    assert counts(found) == ({2}, 0, 0)
    assert any("not produced" in problem for problem in found.problems)


def test_a_response_without_its_stop_is_unfinished() -> None:
    assert judged(*map(record, range(COUNT + 1))).unfinished == {LOAD.response_id(0)}


def test_records_of_other_loads_are_ignored() -> None:
    assert len(judged(Record(response_id="other-1-0", seq=1, event="token")).lost) == COUNT


def push(seq: int) -> str:
    data = {"responseId": LOAD.response_id(0), "seq": seq, "event": record(seq).event, "text": text_of(seq)}
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


def seen(times: str, *texts: str, complete: bool = True) -> Delivered:
    kept = [(3.0 + at, text) for at, text in enumerate(texts)]
    return judge(Order(endpoint="", load=LOAD, times=times), kept, complete=complete)


def test_a_backlog_that_came_whole_has_figures(times: str) -> None:
    found = measured(LOAD, seen(times, *map(push, range(COUNT + 2))), SAMPLED, 0.0, 3.0)
    assert (found.tokens, found.cpu, found.seconds) == (COUNT, 1.0, float(COUNT))


def test_lost_tokens_give_no_figures_except_those_of_a_kill(times: str) -> None:
    some = seen(times, *map(push, range(COUNT)))
    with pytest.raises(Unsound, match=f": 1 of {COUNT} tokens were lost; published: "):
        measured(LOAD, some, SAMPLED, 0.0, 3.0)
    assert measured(LOAD, some, SAMPLED, 0.0, 3.0, killed=True).lost == 1


def test_an_observer_that_stopped_waiting_gives_no_figures(times: str) -> None:
    some = seen(times, *map(push, range(COUNT)), complete=False)
    with pytest.raises(Unsound, match="the observer stopped waiting before every record came; 1 of"):
        measured(LOAD, some, SAMPLED, 0.0, 3.0)


def test_repeated_tokens_give_no_figures_except_those_of_a_kill(times: str) -> None:
    repeated = seen(times, *map(push, (0, 1, 1, *range(2, COUNT + 2))))
    with pytest.raises(Unsound, match=": 1 tokens came repeatedly"):
        measured(LOAD, repeated, SAMPLED, 0.0, 3.0)
    assert measured(LOAD, repeated, SAMPLED, 0.0, 3.0, killed=True).repeated == 1


def test_records_that_were_read_before_their_channel_was_subscribed_to_give_no_figures(times: str) -> None:
    publications = [json.loads(push(seq))["push"]["pub"] for seq in (0, 1)]
    subscribed = json.dumps({"id": 2, "subscribe": {"recovered": True, "publications": publications}})
    whole = seen(times, subscribed, *map(push, range(2, COUNT + 2)))
    with pytest.raises(Unsound, match=": 2 records had been read before"):
        measured(LOAD, whole, SAMPLED, 0.0, 3.0)


def test_processor_time_is_between_the_last_sample_before_and_the_last() -> None:
    sampler = samples(Sample(1.0, 0, 0.25), Sample(2.0, 0, 0.5), Sample(3.0, 0, 1.5))
    assert used(sampler, PEER, 2.5, 2.75, 3.0) == 1.0


@pytest.mark.parametrize("sampler", [samples(), samples(Sample(2.0, 0, 0.25), Sample(3.0, 0, 1.5))])
def test_processor_time_is_unknown_without_a_sample_from_before_the_first_token(sampler: Sampler) -> None:
    with pytest.raises(Unsound, match="before its processor time was first sampled"):
        used(sampler, PEER, 0.0, 1.0, 2.0)


def test_a_process_that_ended_before_the_last_token_gives_no_figures() -> None:
    with pytest.raises(Unsound, match="its process ended before its last token came"):
        used(samples(Sample(0.0, 1, 0.25), Sample(3.0, 1, 1.25)), PEER, 0.0, 1.0, 4.0)


def test_tokens_without_processor_time_give_no_figures() -> None:
    with pytest.raises(Unsound, match="no processor time"):
        used(samples(Sample(0.0, 0, 0.25), Sample(3.0, 0, 0.25)), PEER, 0.0, 1.0, 2.0)


def test_latencies_are_from_handing_over_until_a_subscriber_had_it(times: str) -> None:
    kept = [(3.0 + at, push(seq)) for at, seq in enumerate(range(1, COUNT + 1))]
    found = judge(Order(endpoint="", load=LOAD, times=times), [*kept, (0.0, '{"id":1,"connect":{}}')], complete=True)
    assert found.lost == 0
    assert found.latency is not None
    assert found.first_token is not None
    assert (found.latency.p50, found.first_token.p50) == (2.0, 3.0)
    assert (found.first, found.last) == (3.0, 2.0 + COUNT)


def test_the_peer_reads_the_topic_and_takes_channels_from_the_records_header() -> None:
    made = configuration("host:1", ["topic"], "group", 8000)
    assert made["client"]["queue_max_size"] > 100 * 2**20, "a connection that is behind by a backlog is not ended"
    (consumer,) = made["consumers"]
    assert consumer["kafka"]["topics"] == ["topic"]
    assert consumer["kafka"]["publication_data_mode"] == {"enabled": True, "channels_header": "channels"}
