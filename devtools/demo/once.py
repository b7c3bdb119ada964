"""`tokenstream demo --once`: streams several responses at once, reads them back twice, and compares every text.

It reads with the real Ably SDK through a `Reader`, as a browser does, and from the HTTP API, as a reload does. With
the transport `direct` it reads the gateway's events.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from rich.console import Console
from rich.table import Table

from devtools.demo.bridged import bridged
from devtools.demo.model import Pace, SampleModel
from devtools.demo.scripts import PROMPTS
from devtools.deployment import LocalDeployment
from devtools.produced import Produced
from processor.ably.ably import AblyOptions
from processor.ably.subscription import Subscription
from processor.reader.frames import Message
from processor.reader.reader import Reader, ReaderResponse
from topics.producer import TokenProducer

CLIENT_ID = "tokenstream"
CHANNELS = ("demo:red", "demo:blue")
RESPONSES = 8
DEADLINE = 60.0
POLL_SECONDS = 0.2
READ_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One response, as produced and as read back."""

    produced: Produced
    read: ReaderResponse | None
    first_token: float | None
    """Seconds from its start frame to its first token frame, as they arrived here."""
    stored: Mapping[str, Any] | None

    @property
    def streamed_right(self) -> bool:
        return self.read is not None and self.read.verified is True and _texts(self.read) == self.produced.texts

    @property
    def stored_right(self) -> bool:
        if self.stored is None or self.stored["status"] == "streaming":
            return False
        return {part["part"]: part["text"] for part in self.stored["parts"]} == self.produced.texts

    @property
    def right(self) -> bool:
        return self.streamed_right and self.stored_right


class Following:
    """Reads a channel until the responses it is asked for have ended."""

    def __init__(self) -> None:
        self.reader = Reader(CLIENT_ID)
        self._arrived: dict[tuple[str, str], float] = {}
        self._clock = asyncio.get_running_loop().time

    async def run(self, subscription: Subscription, wanted: "asyncio.Future[set[str]]") -> None:
        """Holes are filled from history; it returns when all of `wanted` are read to their end."""
        while not (wanted.done() and all(self._has_ended(one) for one in wanted.result())):
            message = await subscription.next(READ_PATIENCE)
            if not isinstance(message, Message):
                self.reader.replay(await subscription.history())
                continue
            self._arrived.setdefault((message.headers.get("responseId", ""), message.name), self._clock())
            self.reader.feed(message)

    async def run_events(self, deployment: LocalDeployment, channel: str, wanted: "asyncio.Future[set[str]]") -> None:
        """The same by the gateway's events."""
        url = f"{deployment.api}/v1/channels/{quote(channel, safe='')}/events"
        async with deployment.http.get(url, timeout=aiohttp.ClientTimeout(total=DEADLINE)) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    self._take(json.loads(line.removeprefix(b"data: ")))
                if wanted.done() and all(self._has_ended(one) for one in wanted.result()):
                    return

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["name"] == "snapshot":
            self.reader.hydrate(event["data"])
            return
        headers: Mapping[str, str] = event["headers"]
        self._arrived.setdefault((headers.get("responseId", ""), event["name"]), self._clock())
        self.reader.feed(Message(name=event["name"], data=event["data"], headers=headers, client_id=CLIENT_ID))

    def _has_ended(self, response_id: str) -> bool:
        response = self.reader.responses.get(response_id)
        return response is not None and response.finished

    def first_token(self, response_id: str) -> float | None:
        begun = self._arrived.get((response_id, "start"))
        tokens = [self._arrived[key] for name in ("token", "part") if (key := (response_id, name)) in self._arrived]
        return min(tokens) - begun if begun is not None and tokens else None


async def run_once(deployment: LocalDeployment, console: Console) -> bool:
    """Returns True if every text was read as it was produced; the table shows which were."""
    outcomes: list[Outcome] = []
    async with (
        TokenProducer(deployment.kafka.bootstrap) as producer,
        bridged(deployment) as bridge,
        asyncio.timeout(DEADLINE),
    ):
        others = ((bridge.answer(CHANNELS[0]),), ())
        results = await asyncio.gather(
            *(_one_channel(deployment, producer, channel, seed, others[seed]) for seed, channel in enumerate(CHANNELS))
        )
        for result in results:
            outcomes += result
    console.print(_table(outcomes))
    right = sum(outcome.right for outcome in outcomes)
    console.print(f"{right} of {len(outcomes)} responses came back byte for byte, live and from storage.")
    return right == len(outcomes)


async def _one_channel(
    deployment: LocalDeployment,
    producer: TokenProducer,
    channel: str,
    seed: int,
    others: tuple[Awaitable[Produced], ...],
) -> list[Outcome]:
    """`others` are written to the channel beside the sample model's."""
    following = Following()
    wanted: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        if deployment.endpoint is None:
            tasks.create_task(following.run_events(deployment, channel, wanted))
        else:
            key = deployment.key
            options = AblyOptions(key=lambda: key, client_id=CLIENT_ID, endpoint=deployment.endpoint, tls=False)
            subscription = await stack.enter_async_context(Subscription(options, channel))
            tasks.create_task(following.run(subscription, wanted))
        model = SampleModel(producer, channel, Pace(tokens_per_second=60, thinking=0.2))
        numbers = range(seed * RESPONSES, seed * RESPONSES + RESPONSES // len(CHANNELS))
        asked = model.prompt("Ada", PROMPTS[seed])
        produced = await asyncio.gather(asked, *(model.answer(number * 3) for number in numbers), *others)
        wanted.set_result({one.response_id for one in produced})
    return [
        Outcome(
            one,
            following.reader.responses.get(one.response_id),
            following.first_token(one.response_id),
            await _stored(deployment, one.response_id),
        )
        for one in produced
    ]


async def _stored(deployment: LocalDeployment, response_id: str) -> Mapping[str, Any] | None:
    """The finished record from the API, which the archive may still be writing."""
    record: Mapping[str, Any] | None = None
    for _ in range(int(10 / POLL_SECONDS)):
        async with deployment.http.get(f"{deployment.api}/v1/responses/{response_id}") as answer:
            if answer.status == 200:
                record = await answer.json()
                if record is not None and record["status"] != "streaming":
                    return record
        await asyncio.sleep(POLL_SECONDS)
    return record


def _texts(response: ReaderResponse) -> dict[str, str]:
    return {name: part.text for name, part in response.parts.items()}


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="Streamed at once, read back live and from storage")
    for name in ("response", "channel"):
        table.add_column(name, no_wrap=True)
    for name in ("tokens", "frames", "×", "first"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("live")
    table.add_column("stored")
    for outcome in outcomes:
        produced, read, first = outcome.produced, outcome.read, outcome.first_token
        frames = read.frames if read else 0
        table.add_row(
            f"{produced.response_id[:6]} {produced.author}",
            produced.channel,
            str(produced.tokens),
            str(frames),
            f"{produced.tokens / frames:.1f}" if frames else "-",
            f"{first * 1000:.0f} ms" if first is not None else "-",
            "same" if outcome.streamed_right else "OTHER",
            "same" if outcome.stored_right else "OTHER" if outcome.stored else "NONE",
        )
    return table
