"""Many awaits, one timer: each still ends in time, and nothing else's cancellation is taken for a deadline."""

import asyncio

import pytest

from processor.ably.deadlines import STEP, Deadlines

SOON = 0.05


async def test_a_result_in_time_is_given_and_nothing_is_kept_of_it() -> None:
    deadlines = Deadlines()
    assert await deadlines.within(SOON, asyncio.sleep(0, "answer")) == "answer"
    assert not deadlines._due
    await asyncio.sleep(2 * STEP)
    assert deadlines._timer is None, "without anything in flight no timer goes on"


async def test_an_error_in_time_is_raised_as_it_is() -> None:
    async def failing() -> None:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        await Deadlines().within(SOON, failing())


async def test_what_is_late_ends_with_a_timeout_and_the_task_lives_on() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    began = loop.time()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await deadlines.within(SOON, loop.create_future())
    assert loop.time() - began >= SOON
    assert await deadlines.within(SOON, asyncio.sleep(0, "answer")) == "answer"


async def test_each_has_a_deadline_of_its_own() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    answer = loop.create_future()
    early = asyncio.create_task(deadlines.within(SOON, loop.create_future()))
    late = asyncio.create_task(deadlines.within(3600.0, answer))
    with pytest.raises(TimeoutError):
        await early
    assert not late.done()
    answer.set_result("answer")
    assert await late == "answer"


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines = Deadlines()
    task = asyncio.create_task(deadlines.within(3600.0, asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_cancellation_from_outside_in_the_moment_of_the_deadline_wins() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    task = asyncio.create_task(deadlines.within(0.0, loop.create_future()))
    await asyncio.sleep(0)
    deadlines._check(loop)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_that_was_answered_by_another_error_is_not_held_against_the_next() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()

    async def answered_by_an_error() -> None:
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    with pytest.raises(ConnectionError):
        await deadlines.within(SOON, answered_by_an_error())
    with pytest.raises(TimeoutError):
        await deadlines.within(SOON, loop.create_future())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
