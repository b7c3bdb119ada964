"""Every token that a subscriber of a peer received is judged, and the peer is configured as the page describes."""

import json
from array import array
from pathlib import Path

from devtools.bench.centrifugo import configuration
from devtools.bench.load import Load
from devtools.bench.peer_observe import Judged, Order, Record, judge
from devtools.bench.produce import Times

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


def test_latencies_are_from_handing_over_until_a_subscriber_had_it(tmp_path: Path) -> None:
    times = Times(LOAD)
    for seq in range(COUNT + 2):
        times.note(0, float(seq))
    times.write(tmp_path / "times")
    pushes = [
        json.dumps({"push": {"channel": "l:0", "pub": {"data": {"responseId": "l-1-0", "seq": seq, "event": "token"}}}})
        for seq in range(1, COUNT + 1)
    ]
    kept = [(3.0 + at, line) for at, line in enumerate(pushes)]
    found = judge(Order(endpoint="", load=LOAD, times=str(tmp_path / "times")), [*kept, (0.0, '{"id":1,"connect":{}}')])
    assert found["lost"] == 0
    assert found["latency"]["p50"] == 2.0
    assert found["first_token"]["p50"] == 3.0
    assert array("d", [found["first"], found["last"]]) == array("d", [3.0, 2.0 + COUNT])


def test_the_peer_reads_the_topic_and_takes_channels_from_the_records_header() -> None:
    made = configuration("host:1", ["topic"], "group", 8000)
    (consumer,) = made["consumers"]
    assert consumer["kafka"]["topics"] == ["topic"]
    assert consumer["kafka"]["publication_data_mode"] == {"enabled": True, "channels_header": "channels"}
