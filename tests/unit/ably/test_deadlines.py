"""Many answers, one timer: each still ends in time, and nothing is kept of those that came."""

import asyncio

import pytest

from processor.ably.deadlines import STEP, Deadlines
from support.virtual_time import in_virtual_time

SOON = 0.05


def answer() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


@in_virtual_time
async def test_a_result_in_time_is_given_and_nothing_is_kept_of_it() -> None:
    deadlines, given = Deadlines(), answer()
    deadlines.set(given, SOON)
    given.set_result("answer")
    assert await given == "answer"
    await asyncio.sleep(2 * STEP)
    assert not deadlines._due
    assert deadlines._timer is None, "without anything in flight no timer goes on"


@in_virtual_time
async def test_what_is_late_ends_with_a_timeout_and_the_next_one_is_given() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    began = loop.time()
    for _ in range(2):
        late = answer()
        deadlines.set(late, SOON)
        with pytest.raises(TimeoutError):
            await late
    assert loop.time() - began >= SOON
    given = answer()
    deadlines.set(given, SOON)
    loop.call_soon(given.set_result, "answer")
    assert await given == "answer"


@in_virtual_time
async def test_each_has_a_deadline_of_its_own() -> None:
    deadlines, early, late = Deadlines(), answer(), answer()
    deadlines.set(early, SOON)
    deadlines.set(late, 3600.0)
    with pytest.raises(TimeoutError):
        await early
    assert not late.done()
    late.set_result("answer")
    assert await late == "answer"


@in_virtual_time
async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines, given = Deadlines(), answer()
    deadlines.set(given, 0.0)

    async def wait() -> str:
        return await given

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    deadlines._check(asyncio.get_running_loop())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_timeout_of_an_answer_that_nobody_waits_for_is_no_error() -> None:
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    deadlines = Deadlines()
    deadlines.set(answer(), 0.0)
    deadlines._check(loop)
    await asyncio.sleep(0)
    assert errors == []
