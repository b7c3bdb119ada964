"""The bodies of requests, from their first byte until the model server has answered: bounded each, and all together."""

from collections.abc import AsyncIterator
from typing import Final

from processor.bridge.refusals import Refusal, busy

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024


class BodyBudget:
    """`max_bytes`: of all bodies in memory."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held = 0


class RequestBody:
    """The body of one request. What it takes of the budget is taken until `release`."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._taken = 0

    async def read(self, pieces: AsyncIterator[bytes]) -> bytearray:
        """Raises Refusal 413 or 503 at the first piece that is too much, and what `pieces` raises."""
        received = bytearray()
        async for piece in pieces:
            if len(received) + len(piece) > MAX_REQUEST_BYTES:
                raise Refusal(413, "request_too_large", f"The body is over {MAX_REQUEST_BYTES} bytes.")
            self._take(len(piece))
            received += piece
        return received

    def release(self) -> None:
        """Once the body is not in memory any more. May be called again."""
        self._budget.held -= self._taken
        self._taken = 0

    def _take(self, size: int) -> None:
        if self._budget.held + size > self._budget.max_bytes:
            raise busy(
                "too_many_request_bytes",
                f"The requests that wait for the model server take {self._budget.max_bytes} bytes, as many as they may "
                "(BRIDGE_MAX_BUFFERED_BYTES). Try again later.",
            )
        self._budget.held += size
        self._taken += size
