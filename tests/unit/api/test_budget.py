"""How much may be answered at one time."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from processor.api.budget import Budget
from processor.telemetry.answers import ApiError
from support.waiting import eventually


async def hold(budget: Budget, size: int, until: asyncio.Event, order: list[int] | None = None) -> None:
    async with budget.reserve(size):
        if order is not None:
            order.append(size)
        await until.wait()


async def test_bytes_are_free_again_when_an_answer_ends_or_shrinks() -> None:
    budget = Budget(max_bytes=100, max_requests=9)
    async with budget.reserve(60) as share:
        assert budget.free == 40
        share.shrink(10)
        share.shrink(50)
        assert budget.free == 90
    assert budget.free == 100


async def test_a_request_larger_than_all_has_all() -> None:
    budget = Budget(max_bytes=100, max_requests=9)
    async with budget.reserve(1_000):
        assert budget.free == 0
    assert budget.free == 100


async def test_who_waits_is_admitted_in_order() -> None:
    budget, until, order = Budget(max_bytes=100, max_requests=9), asyncio.Event(), list[int]()
    async with asyncio.TaskGroup() as tasks:
        async with budget.reserve(100):
            for size in (80, 30, 10):
                tasks.create_task(hold(budget, size, until, order))
                await asyncio.sleep(0)
        await eventually(lambda: order == [80])
        until.set()
    assert order == [80, 30, 10]
    assert budget.free == 100


async def test_what_does_not_become_free_in_time_is_refused() -> None:
    budget = Budget(max_bytes=100, max_requests=9, wait_seconds=0.01)
    async with budget.reserve(100):
        with pytest.raises(ApiError) as told:
            async with budget.reserve(1):
                pass
        assert (told.value.status, told.value.headers) == (503, {"Retry-After": "5"})
    assert budget.free == 100


async def test_who_reserves_nothing_waits_for_nobody() -> None:
    budget = Budget(max_bytes=100, max_requests=9, wait_seconds=0.01)
    async with budget.reserve(100), budget.reserve(0) as share:
        with pytest.raises(ApiError):
            await share.grow(1)
    assert budget.free == 100


async def test_a_share_that_grows_gives_back_all_it_has() -> None:
    budget = Budget(max_bytes=100, max_requests=9)
    async with budget.reserve(10) as share:
        await share.grow(50)
        assert budget.free == 40
        share.shrink(20)
        assert budget.free == 80
    assert budget.free == 100


async def test_too_many_requests_are_refused_at_once() -> None:
    budget = Budget(max_bytes=100, max_requests=2)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(budget.reserve(1))
        await stack.enter_async_context(budget.reserve(1))
        with pytest.raises(ApiError, match="API_MAX_REQUESTS"):
            await stack.enter_async_context(budget.reserve(1))
    async with budget.reserve(1):
        pass


@pytest.mark.parametrize("steps", range(6))
async def test_a_request_that_is_cancelled_at_any_moment_leaves_its_bytes(steps: int) -> None:
    budget, until = Budget(max_bytes=100, max_requests=9), asyncio.Event()
    first = asyncio.create_task(hold(budget, 100, until))
    await asyncio.sleep(0)
    second = asyncio.create_task(hold(budget, 50, asyncio.Event()))
    third = asyncio.create_task(hold(budget, 60, asyncio.Event()))
    await asyncio.sleep(0)
    until.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({first, second})
    await eventually(lambda: budget.free == 40)
    third.cancel()
    await asyncio.wait({third})
    assert budget.free == 100
