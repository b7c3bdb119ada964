"""Requests and answers of fetch sessions, against aiokafka's own encoding, and what is asked of a broker when."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11, FetchResponse_v11

from processor.kafka.record_batches.sessions import FetchAnswer, FetchSession, SessionRequest, next_epoch

Offsets = dict[int, int]
VERSIONS = {1: (4, 17)}
UNKNOWN_SESSION = 70


def request(offsets: Offsets, topic: str = "töpic") -> FetchRequest:
    return FetchRequest(250, 1, 1 << 20, 1, [(topic, [(number, offset, 99) for number, offset in offsets.items()])])


def asked(session: FetchSession, offsets: Offsets) -> tuple[int, int, Offsets, list[int]]:
    """(session, epoch, offsets by partition, forgotten partitions), as aiokafka reads the request."""
    struct: Any = FetchRequest_v11.decode(session.encode(request(offsets)))
    found = {number: offset for _, numbers in struct.topics for number, _, offset, _, _ in numbers}
    forgotten = [number for _, numbers in struct.forgotten_topics_data for number in numbers]
    return struct.session_id, struct.session_epoch, found, forgotten


def answer(session: int = 7, error: int = 0) -> FetchAnswer:
    return FetchAnswer(error, session, [])


def test_a_request_is_what_the_library_makes_of_it() -> None:
    ours = FetchRequest_v11.decode(FetchSession().encode(request({3: 5, 1: 2**40})))
    theirs = request({3: 5, 1: 2**40}).build(FetchRequest_v11)
    differing = {name for name in theirs.SCHEMA.names if getattr(ours, name) != getattr(theirs, name)}
    assert differing == {"session_epoch"}, "it begins a session"


def test_an_answer_is_read_as_the_library_reads_it() -> None:
    partitions = [(3, 0, 50, 40, 1, [(9, 41), (8, 42)], -1, b"batches"), (1, 6, -1, -1, -1, [], -1, b"")]
    raw = FetchResponse_v11(0, 0, 7, [("töpic", partitions), ("other", [])]).encode()
    read = FetchAnswer.decode(BytesIO(raw))
    assert (read.error, read.session, read.topics) == (0, 7, [("töpic", partitions), ("other", [])])


def test_nothing_for_aborted_transactions_or_bytes_reads_as_empty() -> None:
    raw = FetchResponse_v11(0, 0, 7, [("t", [(0, 0, 5, 5, 0, None, -1, None)])]).encode()
    assert FetchAnswer.decode(BytesIO(raw)).topics == [("t", [(0, 0, 5, 5, 0, [], -1, b"")])]


def test_an_answer_that_is_cut_off_raises() -> None:
    raw = FetchResponse_v11(0, 0, 7, [("t", [(0, 0, 5, 5, 0, [], -1, b"batches")])]).encode()
    for size in range(len(raw)):
        with pytest.raises(Exception, match=r"cut off|unpack|requires"):
            FetchAnswer.decode(BytesIO(raw[:size]))


def test_a_session_names_only_what_changed() -> None:
    session = FetchSession()
    assert asked(session, {0: 10, 1: 20}) == (0, 0, {0: 10, 1: 20}, [])
    session.answered(answer())
    assert asked(session, {0: 10, 1: 20}) == (7, 1, {}, [])
    session.answered(answer())
    assert asked(session, {0: 11, 1: 20, 2: 0}) == (7, 2, {0: 11, 2: 0}, [])
    session.answered(answer())
    assert asked(session, {2: 0}) == (7, 3, {}, [0, 1])
    session.answered(answer())
    assert asked(session, {0: 11, 2: 0}) == (7, 4, {0: 11}, [])


@pytest.mark.parametrize("said", [answer(session=0), answer(error=UNKNOWN_SESSION), None])
def test_where_the_broker_has_no_session_everything_is_asked_for_again(said: FetchAnswer | None) -> None:
    session = FetchSession()
    asked(session, {0: 10, 1: 20})
    session.answered(answer())
    asked(session, {0: 11, 1: 20})
    if said is None:
        session.lost()
    else:
        session.answered(said)
    _, epoch, offsets, forgotten = asked(session, {0: 11, 1: 20})
    assert (epoch, offsets, forgotten) == (0, {0: 11, 1: 20}, [])


def test_epochs_begin_again_at_one() -> None:
    assert [next_epoch(epoch) for epoch in (0, 1, 2**31 - 2, 2**31 - 1)] == [1, 2, 2**31 - 1, 1]


def test_an_older_broker_gets_the_librarys_request() -> None:
    mine = SessionRequest(FetchSession(), request({0: 1}))
    assert mine.prepare(VERSIONS) is mine
    assert mine.prepare({1: (0, 10)}).API_VERSION == 10
