from collections.abc import AsyncIterator

import pytest

from processor.bridge import bodies
from processor.bridge.bodies import BodyBudget, RequestBody
from processor.bridge.refusals import Refusal


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


async def test_a_body_is_held_until_it_is_released() -> None:
    budget = BodyBudget(100)
    body = RequestBody(budget)
    assert await body.read(pieces(40, 20)) == b"x" * 60
    assert budget.held == 60
    body.release()
    body.release()
    assert budget.held == 0


async def test_bodies_that_are_too_much_together_are_refused_at_once() -> None:
    budget = BodyBudget(100)
    first, second = RequestBody(budget), RequestBody(budget)
    await first.read(pieces(60))
    with pytest.raises(Refusal) as caught:
        await second.read(pieces(30, 30))
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
    second.release()
    assert budget.held == 60
    first.release()
    assert len(await second.read(pieces(100))) == 100


async def test_one_body_that_is_too_large_is_refused() -> None:
    budget = BodyBudget(2 * bodies.MAX_REQUEST_BYTES)
    with pytest.raises(Refusal) as caught:
        await RequestBody(budget).read(pieces(bodies.MAX_REQUEST_BYTES, 1))
    assert caught.value.status == 413
