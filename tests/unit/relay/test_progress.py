"""A relay that connects and publishes nothing reports that; one whose service is unreachable, or refuses, reports
that instead.
"""

import pytest

from processor.relay.progress import STANDSTILL, Progress


def look_for(progress: Progress, seconds: float, *, connects: bool, sends: bool = True, begin: float = 0.0) -> float:
    now = begin
    while now < begin + seconds:
        now += 1.0
        if connects:
            progress.connected(now)
        if sends:
            progress.asked(now)
        progress.look(now)
    return now


def test_frames_that_are_never_answered_over_connections_that_come_up_are_a_standstill() -> None:
    progress = Progress(0.0)
    now = look_for(progress, STANDSTILL - 1, connects=True)
    assert progress.standstill() is None
    look_for(progress, 2, connects=True, begin=now)
    assert "has answered nothing" in (progress.standstill() or "")


@pytest.mark.parametrize(("connects", "sends"), [(False, True), (True, False), (False, False)])
def test_an_outage_and_a_relay_with_nothing_to_send_are_none(connects: bool, sends: bool) -> None:
    progress = Progress(0.0)
    look_for(progress, 10 * STANDSTILL, connects=connects, sends=sends)
    assert progress.standstill() is None


def test_any_answer_ends_it() -> None:
    progress = Progress(0.0)
    now = look_for(progress, 2 * STANDSTILL, connects=True)
    progress.answered()
    assert progress.standstill() is None
    look_for(progress, STANDSTILL - 1, connects=True, begin=now)
    assert progress.standstill() is None


def test_an_outage_begins_the_count_again() -> None:
    progress = Progress(0.0)
    now = look_for(progress, STANDSTILL - 10, connects=True)
    now = look_for(progress, 100, connects=False, begin=now)
    look_for(progress, STANDSTILL - 10, connects=True, begin=now)
    assert progress.standstill() is None


def test_seconds_in_which_the_process_stood_still_do_not_count() -> None:
    progress = Progress(0.0)
    progress.connected(0.0)
    now = 0.0
    for _ in range(20):
        now += 60.0
        progress.connected(now)
        progress.asked(now)
        progress.look(now)
    assert progress.standstill() is None
