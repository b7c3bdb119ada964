"""An operation is tried again until it is done, each pause counted and bounded."""

import pytest

from processor.core.backoff import Backoff
from processor.errors import KafkaUnavailable, RecordsGone
from processor.telemetry.retry import Retry


class FailsFor:
    def __init__(self, times: int, error: Exception) -> None:
        self.calls = 0
        self._times = times
        self._error = error

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return "done"


async def test_failures_are_reported_counted_and_tried_again() -> None:
    counted: list[int] = []
    reported: list[tuple[str, int]] = []
    retry = Retry(Backoff(first=0.0001, cap=0.001), lambda: 0.5, lambda: counted.append(1))
    operation = FailsFor(3, KafkaUnavailable("away"))
    assert (
        await retry.until_done(operation, KafkaUnavailable, lambda error, n: reported.append((str(error), n))) == "done"
    )
    assert reported == [("away", 0), ("away", 1), ("away", 2)]
    assert (len(counted), operation.calls, retry.attempt) == (3, 4, 0)


async def test_another_error_ends_it() -> None:
    retry = Retry(Backoff(), lambda: 0.5, lambda: None)
    operation = FailsFor(1, RecordsGone({0: 1}))
    with pytest.raises(RecordsGone):
        await retry.until_done(operation, KafkaUnavailable, lambda _error, _attempt: None)
    assert operation.calls == 1


async def test_a_success_starts_the_next_row() -> None:
    retry = Retry(Backoff(first=0.0001, cap=0.001), lambda: 0.0, lambda: None)
    await retry.pause()
    await retry.pause()
    assert retry.attempt == 2
    retry.succeeded()
    assert retry.attempt == 0


async def test_a_delay_is_counted_and_may_be_of_another_policy() -> None:
    counted: list[int] = []
    retry = Retry(Backoff(first=1.0, cap=4.0), lambda: 0.0, lambda: counted.append(1))
    assert [retry.delay() for _ in range(4)] == [0.5, 1.0, 2.0, 2.0]
    assert retry.delay(Backoff(first=10.0, cap=20.0)) == 10.0
    assert (len(counted), retry.attempt) == (5, 5)
