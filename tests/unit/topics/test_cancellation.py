"""A block is left only by its own cancellation, whatever is in it or around it."""

import asyncio
from types import TracebackType
from typing import Self

import pytest

from support.virtual_time import in_virtual_time
from topics.cancellation import Scope


class Block:
    """A scope as a response uses it."""

    def __init__(self) -> None:
        self.scope = Scope()
        self.absorbed: bool | None = None
        self.in_exit = asyncio.Event()
        self.leave_exit = asyncio.Event()
        self.leave_exit.set()

    async def __aenter__(self) -> Self:
        self.scope.enter()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        self.absorbed = self.scope.leave(error)
        self.in_exit.set()
        await self.leave_exit.wait()
        return self.absorbed

    def cancel_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.scope.cancel)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_its_cancellation_leaves_the_block_and_ends_there() -> None:
    async with Block() as block:
        block.cancel_soon()
        await for_ever()
    assert block.absorbed
    assert block.scope.cancelled
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_foreign_cancellation_goes_on() -> None:
    block = Block()

    async def body() -> None:
        async with block:
            await for_ever()

    task = asyncio.create_task(body())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not block.absorbed
    assert not block.scope.cancelled


@pytest.mark.parametrize("own_first", [True, False])
async def test_a_foreign_cancellation_at_the_same_time_goes_on(own_first: bool) -> None:
    block = Block()

    async def body() -> None:
        async with block:
            await for_ever()

    task = asyncio.create_task(body())
    await asyncio.sleep(0)
    if own_first:
        block.scope.cancel()
        await asyncio.sleep(0)
        task.cancel()
    else:
        task.cancel()
        block.scope.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not block.absorbed


async def test_of_nested_blocks_the_cancelled_one_is_left() -> None:
    after_inner = False
    async with Block() as outer:
        async with Block() as inner:
            inner.cancel_soon()
            await for_ever()
        after_inner = True
        await asyncio.sleep(0)
    assert after_inner
    assert (inner.absorbed, outer.absorbed) == (True, False)


async def test_an_outer_block_is_left_through_the_inner_one() -> None:
    async with Block() as outer:
        async with Block() as inner:
            outer.cancel_soon()
            await for_ever()
        pytest.fail("the inner block absorbed what was not its own")
    assert (inner.absorbed, outer.absorbed) == (False, True)


async def test_both_of_two_nested_blocks_may_be_cancelled() -> None:
    async with Block() as outer:
        async with Block() as inner:
            outer.cancel_soon()
            inner.cancel_soon()
            await for_ever()
        pytest.fail("the outer block is cancelled too")
    assert (inner.absorbed, outer.absorbed) == (False, True)


async def test_an_outer_block_cancelled_while_the_inner_one_is_left() -> None:
    async with Block() as outer:
        async with Block() as inner:
            inner.leave_exit.clear()
            inner.cancel_soon()
            loop = asyncio.get_running_loop()

            async def cancel_outer() -> None:
                await inner.in_exit.wait()
                loop.call_soon(outer.scope.cancel)

            cancelling = asyncio.create_task(cancel_outer())
            await for_ever()
        pytest.fail("the outer block is cancelled too")
    await cancelling
    assert outer.absorbed


async def test_a_timeout_inside_passes_it_on() -> None:
    async with Block() as block, asyncio.timeout(60):
        block.cancel_soon()
        await for_ever()
    assert block.absorbed


async def test_a_timeout_inside_that_expires_is_a_timeout() -> None:
    block = Block()
    with pytest.raises(TimeoutError):
        async with block, asyncio.timeout(0):
            await for_ever()
    assert not block.absorbed


@pytest.mark.parametrize("cancelled_too", [True, False])
async def test_a_timeout_around_it_expires_as_ever(cancelled_too: bool) -> None:
    block = Block()

    async def body() -> None:
        async with asyncio.timeout(0), block:
            if cancelled_too:
                block.scope.cancel()
            await for_ever()

    with pytest.raises(TimeoutError):
        await body()
    assert not block.absorbed


async def test_a_timeout_inside_that_expires_at_the_same_time_does_not_hide_it() -> None:
    async with Block() as block:
        async with asyncio.timeout(0):
            block.scope.cancel()
            await for_ever()
    assert block.absorbed


async def test_a_task_group_inside_ends_its_tasks() -> None:
    ended = 0

    async def child() -> None:
        nonlocal ended
        try:
            await for_ever()
        finally:
            ended += 1

    async with Block() as block, asyncio.TaskGroup() as group:
        group.create_task(child())
        group.create_task(child())
        await asyncio.sleep(0)
        block.cancel_soon()
    assert (block.absorbed, ended) == (True, 2)


async def test_an_error_on_its_way_out_is_not_absorbed() -> None:
    block = Block()

    async def body() -> None:
        async with block:
            try:
                await for_ever()
            except asyncio.CancelledError:
                raise ValueError("cleaning up failed") from None

    task = asyncio.create_task(body())
    await asyncio.sleep(0)
    block.scope.cancel()
    with pytest.raises(ValueError, match="cleaning up"):
        await task
    assert task.cancelling() == 0


async def test_a_block_that_swallows_it_is_left_by_the_next_check() -> None:
    async with Block() as block:
        block.cancel_soon()
        with pytest.raises(asyncio.CancelledError):
            await for_ever()
        block.scope.check()
        pytest.fail("check raises")
    assert block.absorbed


@in_virtual_time
async def test_a_block_that_swallows_it_and_waits_on_is_cancelled_again() -> None:
    swallowed = 0
    async with Block() as block:
        block.cancel_soon()
        try:
            await for_ever()
        except asyncio.CancelledError:
            swallowed += 1
        async with asyncio.timeout(60):
            await for_ever()
    assert (block.absorbed, swallowed) == (True, 1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_never_waits_ends_by_itself() -> None:
    async with Block() as block:
        block.scope.cancel()
    assert block.scope.cancelled
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_after_close_and_after_the_block_it_does_nothing() -> None:
    async with Block() as block:
        block.scope.close()
        block.scope.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    block.scope.cancel()
    await asyncio.sleep(0)
    assert not block.scope.cancelled


async def test_a_block_that_is_closed_before_it_was_cancelled_was_not_cancelled() -> None:
    """`cancel` was called, and nothing was cancelled yet when the stop was written."""
    async with Block() as block:
        block.scope.cancel()
        block.scope.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not block.scope.cancelled
    assert not block.absorbed


async def test_a_cancellation_that_another_task_delivers_reaches_the_task_that_entered() -> None:
    async with Block() as block:

        async def elsewhere() -> None:
            block.scope.cancel()

        other = asyncio.create_task(elsewhere())
        await for_ever()
    await other
    assert block.absorbed
