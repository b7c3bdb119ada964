"""Timers of what has ended do nothing, and keep nothing of it in memory."""

from processor.core.response import Response
from processor.core.timers import Kind, Timers


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
