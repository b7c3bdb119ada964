"""Messages go as fast as the service takes them: refusals lower the rate, and time raises it again."""

import pytest

from processor.core.pacing import LOWEST, Pace


def sent_within(pace: Pace, begin: float, seconds: float) -> int:
    sent, now = 0, begin
    while now <= begin + seconds:
        if (delay := pace.delay(now)) <= 0:
            pace.spend(now)
            sent += 1
        else:
            now += delay + 1e-9
    return sent


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    pace = Pace(10.0, 5.0, 0.0)
    assert sent_within(pace, 0.0, 0.0) == 5
    assert pace.delay(0.0) == pytest.approx(0.1)
    assert sent_within(pace, 0.0, 2.0) in (19, 20)


def test_urgent_messages_run_into_debt_which_the_others_pay_back() -> None:
    pace = Pace(10.0, 3.0, 0.0)
    for _ in range(5):
        assert pace.delay(0.0, urgent=True) == 0.0
        pace.spend(0.0)
    assert pace.delay(0.0, urgent=True) == 0.0
    assert pace.delay(0.0) == pytest.approx(0.3)
    pace.spend(0.0)
    assert pace.delay(0.0, urgent=True) == pytest.approx(0.1)


def test_a_refusal_lowers_the_rate_and_ten_seconds_restore_it() -> None:
    pace = Pace(100.0, 1.0, 0.0)
    pace.slow_down(5.0)
    pace.slow_down(5.5)
    assert pace.rate == pytest.approx(70.0), "several refusals within a second count once"
    assert pace.share(5.5) == pytest.approx(0.7)
    assert pace.share(7.0) == pytest.approx(0.9)
    assert pace.rate == pytest.approx(70.0), "asking changes nothing"
    for now in (7.0, 8.0, 9.0, 20.0):
        pace.delay(now)
    assert pace.rate == 100.0


def test_refusals_never_lower_the_rate_below_a_quarter() -> None:
    pace = Pace(100.0, 1.0, 0.0)
    for second in range(1, 20):
        pace.slow_down(float(second))
    assert pace.rate == pytest.approx(100.0 * LOWEST)


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(0.0, 1.0, 0.0)
    for _ in range(1_000):
        assert pace.delay(0.0) == 0.0
        pace.spend(0.0)
    pace.slow_down(1.0)
    assert pace.share(1.0) == 1.0
