"""Timers of ended responses do nothing, and keep none of their memory."""

from processor.core.response import Response
from processor.core.timers import END_OFFSET_SECONDS, Kind, Timers


def test_what_has_ended_is_let_go_of_long_before_its_timers_are_due() -> None:
    timers = Timers()
    ended, open_ = Response("ended", 0.0), Response("open", 0.0)
    for response in (ended, open_):
        timers.arm(1.0, Kind.SNAPSHOT, response)
        timers.arm(120.0, Kind.IDLE, response)
    timers.forget(ended)
    assert all(timed.response is not ended for _, _, _, timed in timers._heap)
    assert [(kind, response.id) for _, kind, response in timers.pop_due(1.0)] == [(Kind.SNAPSHOT, "open")]
    timers.pop_due(120.0)
    assert [response.id for _, _, response in timers._overdue] == ["open"]


def test_an_id_used_again_has_timers_of_its_own() -> None:
    timers = Timers()
    first, second = Response("r", 0.0), Response("r", 0.0)
    timers.arm(1.0, Kind.SNAPSHOT, first)
    timers.forget(first)
    timers.arm(2.0, Kind.SNAPSHOT, second)
    timers.forget(first)
    assert [response for _, _, response in timers.pop_due(2.0)] == [second]


def _waiting_for(end: int) -> Timers:
    """A gap is due, and is decided once the partition is consumed to `end`, which was read at 3 s."""
    timers = Timers()
    timers.arm(2.0, Kind.GAP, Response("r", 0.0))
    timers.pop_due(2.0)
    timers.end_offset(3.0, end)
    return timers


def test_an_end_offset_that_is_not_reached_is_read_again() -> None:
    timers = _waiting_for(10)
    assert not timers.wants_end_offset
    timers.pop_due(3.0 + END_OFFSET_SECONDS)
    assert timers.wants_end_offset
    timers.end_offset(3.0 + END_OFFSET_SECONDS, 12)
    assert not timers.wants_end_offset


def test_a_log_that_lost_its_end_stops_no_timer() -> None:
    timers = _waiting_for(10)
    assert timers.confirmed(7) == []
    timers.pop_due(3.0 + END_OFFSET_SECONDS)
    timers.end_offset(3.0 + END_OFFSET_SECONDS, 7)
    assert [kind for _, kind, _ in timers.confirmed(7)] == [Kind.GAP]


def test_a_log_that_grows_moves_no_end_offset_that_timers_wait_for() -> None:
    timers = _waiting_for(10)
    timers.pop_due(3.0 + END_OFFSET_SECONDS)
    timers.end_offset(3.0 + END_OFFSET_SECONDS, 20)
    assert [kind for _, kind, _ in timers.confirmed(10)] == [Kind.GAP]
