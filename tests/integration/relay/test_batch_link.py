"""REST batches: a request refused as a whole fails nobody but the message that is to blame."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from ably.util.exceptions import AblyException

from processor.ably.ably import RETRY, AblyOptions
from processor.ably.batches import MAX_BYTES, BatchLink, RequestPace, Waiting, batches
from processor.clock import Clock
from processor.core.framer import Frame
from processor.errors import PublishRefused, PublishRetry, RefusalKind
from processor.telemetry.retry import Retry
from support.waiting import working


@dataclass(frozen=True)
class Answer:
    items: list[dict[str, Any]]
    status_code: int = 201


class Refusing:
    """A client whose service refuses every request that holds a message of the channel `wrong`, as a whole."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []

    async def time(self) -> int:
        return 0

    async def close(self) -> None: ...

    async def request(self, _method: str, _path: str, _version: str, *, body: list[dict[str, Any]]) -> Answer:
        channels = [spec["channels"][0] for spec in body]
        self.requests.append(channels)
        if "wrong" in channels:
            raise AblyException("too large", 413, 40009)
        return Answer([{"results": [{"channel": channel, "messageId": "1"}]} for channel in channels])


@pytest.fixture
def service() -> Refusing:
    return Refusing()


@pytest.fixture
async def link(service: Refusing) -> AsyncIterator[BatchLink]:
    options = AblyOptions(key=lambda: "a.b:c", client_id="ts", endpoint="127.0.0.1:1", tls=False)
    made = BatchLink(
        options,
        RequestPace(0.0, 0.0),
        Retry(RETRY, Random(1).random, lambda: None),
        Clock(),
        lambda: None,
        lambda **_: service,
    )
    async with working(made):
        yield made


def frame(channel: str, data: str = "text", info: str = "") -> Frame:
    headers = {"responseId": "r", "partInfo": info}
    return Frame(
        channel=channel, response_id="r", name="part", id=f"{channel}/1", data=data, json=False, headers=headers
    )


async def publish(link: BatchLink, channels: Sequence[str]) -> list[BaseException | None]:
    return await asyncio.gather(*(link.publish(frame(each), 5.0) for each in channels), return_exceptions=True)


async def test_after_a_request_refused_as_a_whole_each_message_goes_alone(link: BatchLink, service: Refusing) -> None:
    first = await publish(link, ["a", "wrong", "b"])
    assert all(isinstance(result, PublishRetry) for result in first), "nobody fails for another's message"
    a, wrong, b = await publish(link, ["a", "wrong", "b"])
    assert (a, b) == (None, None)
    assert isinstance(wrong, PublishRefused)
    assert wrong.kind is RefusalKind.TOO_LARGE
    assert service.requests == [["a", "wrong", "b"], ["a"], ["wrong"], ["b"]]
    assert await publish(link, ["a", "b"]) == [None, None]
    assert service.requests[-1] == ["a", "b"], "and together again after that"


async def test_what_is_in_the_headers_counts_for_a_requests_size() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heavy = [Waiting(frame(f"c{number}", "語" * 4_096, "語" * 5_000), answer, 5.0) for number in range(100)]
    split = batches(heavy)
    assert sum(map(len, split)) == 100
    for batch in split:
        size = sum(len(one.frame.data or "") * 3 + len(one.frame.headers["partInfo"]) * 3 for one in batch)
        assert size <= MAX_BYTES
