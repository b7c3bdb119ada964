"""The two programs of a row, tokenstream and the plain one: how each is run, and how it is judged.

Each has a realtime server of its own, so that neither disturbs the other; both consume the same topic of the same broker.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devtools.deployment import Deployment
from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from devtools.faultlab.processes import Crew, PlainProcess
from devtools.faultlab.readers import ChannelReader
from devtools.judge.frames import check
from devtools.judge.texts import Tally, numbers_of
from devtools.process import TokenstreamProcess
from devtools.produced import Produced
from devtools.published import as_received, count, headers_of, stopped
from processor.ports.store import ResponseStore
from topics.specs import TopicNames


@dataclass(slots=True)
class Side:
    """A program under test. `relays` are the processes that publish."""

    name: str
    realtime: LocalRealtime
    crew: Crew
    group: str
    """Its consumer group."""
    make: Callable[..., TokenstreamProcess]

    @property
    def relays(self) -> list[TokenstreamProcess]:
        return self.crew.of("relay" if self.name == "tokenstream" else "plain")

    async def add_relay(self, **changes: str) -> TokenstreamProcess:
        return await self.crew.add(self.make(**changes))

    def frame_times(self) -> dict[str, list[float]]:
        """Seconds since the epoch, by channel."""
        return {
            channel: [(message.timestamp or 0) / 1000 for message in messages]
            for channel, messages in self.realtime.log.items()
        }

    def stopped(self) -> set[str]:
        """The responses whose stop was published."""
        return stopped(self.realtime.log)

    def frames_of(self, response_ids: Collection[str]) -> int:
        """How many frames of these responses were published."""
        return sum(
            headers_of(message).get("responseId") in response_ids
            for messages in self.realtime.log.values()
            for message in messages
        )

    def published(self) -> int:
        return count(self.realtime.log)


def plain_side(realtime: LocalRealtime, bootstrap: str, names: TopicNames) -> Side:
    def make(**changes: str) -> TokenstreamProcess:
        settings = {
            "BOOTSTRAP": bootstrap,
            "TOPIC": names.tokens,
            "GROUP": f"{names.tokens}-plain",
            "KEY": DEFAULT_KEY,
            "ENDPOINT": realtime.endpoint,
        }
        return PlainProcess(settings | changes)

    return Side("plain", realtime, Crew(), f"{names.tokens}-plain", make)


def tokenstream_side(realtime: LocalRealtime, bootstrap: str, names: TopicNames, settings: Mapping[str, str]) -> Side:
    deployment = Deployment(bootstrap=bootstrap, names=names, endpoint=realtime.endpoint, settings=settings)
    return Side("tokenstream", realtime, Crew(), names.tokens, deployment.new)


# Judging


def judge_plain(side: Side, given: Iterable[Produced]) -> Tally:
    """Its reader is taken to receive everything that was published, and to put it together as the guide shows."""
    tally = Tally()
    pieces: dict[str, list[str]] = {}
    for messages in side.realtime.log.values():
        for message in messages:
            if message.name == "token":
                pieces.setdefault(headers_of(message)["responseId"], []).append(str(message.data))
    stopped = side.stopped()
    for one in given:
        tally.given([one])
        tally.published(one, pieces.get(one.response_id, []), stopped=one.response_id in stopped)
    tally.repeated_for_reader = tally.repeated_as_published
    return tally


async def judge_tokenstream(
    side: Side,
    given: Collection[Produced],
    readers: Mapping[str, ChannelReader],
    store: ResponseStore,
    refused: Mapping[str, list[int]] | None = None,
) -> Tally:
    """`refused`: tokens in the dead letters of responses whose channel refused them permanently, by response."""
    tally = Tally()
    whole = [one for one in given if one.response_id not in (refused or {})]
    tally.given(given)
    judge_published(tally, side, whole)
    for one in whole:
        response = readers[one.channel].reader.responses.get(one.response_id)
        texts = {name: part.text for name, part in response.parts.items()} if response else {}
        tally.read(one, texts, stopped=response is not None and response.finished)
        if response is not None and response.verified is False:
            tally.say(f"read: {one.response_id} is not what its stop says")
        texts, status = await stored_texts(store, one.response_id)
        tally.stored(one, texts, stopped=status == "complete")
    for one in given:
        if refused is not None and one.response_id in refused:
            await _judge_refused(tally, one, refused[one.response_id], store)
    return tally


def judge_published(tally: Tally, side: Side, given: Collection[Produced]) -> None:
    pieces: dict[str, list[str]] = {}
    wanted = {one.response_id for one in given}
    for channel, messages in side.realtime.log.items():
        mine = [as_received(message) for message in messages if headers_of(message).get("responseId") in wanted]
        for message in mine:
            if message.name in ("token", "part"):
                pieces.setdefault(message.headers["responseId"], []).append(str(message.data))
        report = check(mine, {one.response_id: one.texts for one in given if one.channel == channel})
        for name, times in report.wrong.items():
            tally.say(f"{channel}: {times} {name}; {report.details[:3]}")
    stopped = side.stopped()
    for one in given:
        tally.published(one, pieces.get(one.response_id, []), stopped=one.response_id in stopped)


async def stored_texts(store: ResponseStore, response_id: str) -> tuple[dict[str, str], str | None]:
    found = await store.get(response_id)
    if found is None:
        return {}, None
    return {part.part: part.text for part in found.record.parts}, str(found.record.status)


async def _judge_refused(tally: Tally, given: Produced, letters: list[int], store: ResponseStore) -> None:
    """The record has what was delivered, the dead letters have all that was not; together they are whole."""
    _, status = await stored_texts(store, given.response_id)
    missing = await missing_of(given, letters, store)
    tally.lost |= {(given.response_id, number) for number in missing}
    if missing:
        tally.say(f"refused: {given.response_id} misses {len(missing)} tokens in record and dead letters together")
    if status != "failed":
        tally.unfinished.add(given.response_id)
        tally.say(f"refused: {given.response_id} is {status}, not failed")


async def missing_of(given: Produced, letters: list[int], store: ResponseStore) -> frozenset[int]:
    """Numbers of the tokens that neither the record nor the dead letters have."""
    texts, _ = await stored_texts(store, given.response_id)
    return numbers_of(given) - {number for text in texts.values() for number in _numbers(text)} - set(letters)


def _numbers(text: str) -> list[int]:
    return [int(piece.rsplit("<", 1)[1]) for piece in text.split(">") if "<" in piece]


async def is_stored(store: ResponseStore, response_id: str) -> bool:
    """Whether it is in the store, finished."""
    found = await store.get(response_id)
    return found is not None and found.record.status.finished


def letter_of(value: bytes | None) -> tuple[str, int] | None:
    """The response and number of a dead-lettered token, where it is one."""
    try:
        event: Any = json.loads(value or b"")
        return str(event["responseId"]), int(event["seq"])
    except (ValueError, KeyError, TypeError):
        return None
