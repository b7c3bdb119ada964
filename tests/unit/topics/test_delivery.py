"""A broker's answers about the limit of a topic."""

import asyncio
import contextlib

import pytest

from topics.delivery import limit_told, uncancelled

CONFIG: tuple[object, ...] = ("max.message.bytes", "1048588", False, 5, False, [])


@pytest.mark.parametrize(
    ("resources", "limit"),
    [
        ([(0, None, 2, "tokens", [CONFIG])], 1_048_588),
        ([(0, None, 2, "tokens", [("cleanup.policy", "delete", False, True, False), CONFIG[:5]])], 1_048_588),
        ([(29, "Topic authorization failed.", 2, "tokens", [])], None),
        ([(29, "Topic authorization failed.", 2, "tokens", [CONFIG])], None),
        ([(0, None, 2, "tokens", [("max.message.bytes", None, False, 5, False, [])])], None),
        ([(0, None, 2, "tokens", [("max.message.bytes", "many", False, 5, False, [])])], None),
        ([], None),
    ],
)
def test_the_limit_is_unknown_where_the_broker_does_not_tell(
    resources: list[tuple[object, ...]], limit: int | None
) -> None:
    assert limit_told(resources) == limit


async def test_an_error_of_what_is_finished_replaces_no_cancellation() -> None:
    begun = asyncio.Event()

    async def fails_late() -> None:
        begun.set()
        await asyncio.sleep(0.01)
        raise TimeoutError

    async def retries() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await uncancelled(fails_late())

    task = asyncio.create_task(retries())
    await begun.wait()
    task.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait({task})
    assert task.cancelled()
