"""REST batches: a request refused as a whole fails nobody but the message that is to blame."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import pytest

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.ably.ably import AblyOptions
from processor.ably.batches import MAX_BYTES, BatchLink, RequestPace, Waiting, batches
from processor.ably.refusals import Meaning, Refusal
from processor.clock import Clock
from processor.core.framer import Frame
from processor.errors import PublishRetry
from support.waiting import working


class Refusing(BatchLink):
    """Its service refuses every request that holds a message of the channel `wrong`, as a whole."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.requests: list[list[str]] = []

    async def _request(self, batch: list[Waiting]) -> list[Exception | None]:
        self.requests.append([one.frame.channel for one in batch])
        if "wrong" in self.requests[-1]:
            raise Refusal(40009, 413, "too large")
        return [None] * len(batch)


@pytest.fixture
async def link(server: LocalRealtime) -> AsyncIterator[Refusing]:
    options = AblyOptions(key=lambda: DEFAULT_KEY, client_id="ts", endpoint=server.endpoint, tls=False)
    made = Refusing(options, RequestPace(0.0, 0.0), Random(1), Clock(), lambda: None)
    async with working(made):
        yield made


def frame(channel: str, data: str = "text", info: str = "") -> Frame:
    headers = {"responseId": "r", "partInfo": info}
    return Frame(
        channel=channel, response_id="r", name="part", id=f"{channel}/1", data=data, json=False, headers=headers
    )


async def publish(link: BatchLink, channels: Sequence[str]) -> list[BaseException | None]:
    return await asyncio.gather(*(link.publish(frame(each), 5.0) for each in channels), return_exceptions=True)


async def test_after_a_request_refused_as_a_whole_each_message_goes_alone(link: Refusing) -> None:
    first = await publish(link, ["a", "wrong", "b"])
    assert all(isinstance(result, PublishRetry) for result in first), "nobody fails for another's message"
    a, wrong, b = await publish(link, ["a", "wrong", "b"])
    assert (a, b) == (None, None)
    assert isinstance(wrong, Refusal)
    assert wrong.meaning is Meaning.TOO_LARGE
    assert link.requests == [["a", "wrong", "b"], ["a"], ["wrong"], ["b"]]
    assert await publish(link, ["a", "b"]) == [None, None]
    assert link.requests[-1] == ["a", "b"], "and together again after that"


async def test_what_is_in_the_headers_counts_for_a_requests_size() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heavy = [Waiting(frame(f"c{number}", "語" * 4_096, "語" * 5_000), answer, 5.0) for number in range(100)]
    split = batches(heavy)
    assert sum(map(len, split)) == 100
    for batch in split:
        size = sum(len(one.frame.data or "") * 3 + len(one.frame.headers["partInfo"]) * 3 for one in batch)
        assert size <= MAX_BYTES
