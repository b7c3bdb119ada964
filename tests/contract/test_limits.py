"""What the intake takes at a limit, every other door holds: producer, relay, frames, both readers, every store, the API."""

import json
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
from yarl import URL

from devtools.stores import opened
from processor.api.access import Access
from processor.api.app import ApiParts, make_app
from processor.core.text import json_length
from processor.ports.store import Entry, Position, ResponseStore
from processor.reader.reader import Message, Reader
from processor.telemetry.health import Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from support.world import World
from topics.codec import Decoder, Invalid, TokenRecord, encode_token_event
from topics.limits import (
    MAX_CHANNEL_BYTES,
    MAX_KIND_CHARACTERS,
    MAX_OBJECT_BYTES,
    MAX_OBJECT_DEPTH,
    MAX_PART_CHARACTERS,
    MAX_PARTS,
    MAX_RESPONSE_ID_BYTES,
    MAX_SEQ,
    MAX_TEXT_BYTES,
    MAX_TIME_MS,
)
from topics.producer import TokenProducer
from topics.records import Event, JsonObject, Reason

RUNNER = Path(__file__).parents[1] / "js" / "client_runner.mjs"
NOW = 1_763_860_000_000
Token = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One response, as its producer writes it."""

    response_id: str = "r-1"
    channel: str = "chat:1"
    metadata: JsonObject | None = None
    tokens: tuple[Token, ...] = ({"text": "Hello"},)
    reason: str = "stop"
    usage: JsonObject | None = None
    error: JsonObject | None = None
    times: tuple[int, int, int] = (NOW, NOW + 1, NOW + 2)
    stop_seq: int | None = None

    def values(self) -> list[bytes]:
        start, during, end = self.times
        name, last = self.response_id, self.stop_seq or len(self.tokens) + 1
        return [
            encode_token_event(Event.START, name, 0, ts=start, channel=self.channel, metadata=self.metadata),
            *(encode_token_event(Event.TOKEN, name, seq, ts=during, **token) for seq, token in enumerate(self.tokens, 1)),
            encode_token_event(Event.STOP, name, last, ts=end, reason=self.reason, usage=self.usage, error=self.error),
        ]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """An answer at a limit, and the same beyond it (None: there is no beyond)."""

    at: Answer
    beyond: Answer | None
    reason: Reason = Reason.TOO_LARGE
    by_producer: bool = field(default=True)
    """Whether the producer can be asked for what is beyond: it sets `seq` and `ts` itself."""


def large(size: int, unit: str = "x") -> JsonObject:
    """An object that takes about `size` bytes, never more; exactly so with one-byte units."""
    each = len(orjson.dumps(unit)) - 2
    return {"k": unit * ((size - len('{"k":""}')) // each)}


def nested(depth: int) -> JsonObject:
    found: JsonObject = {}
    for _ in range(depth - 1):
        found = {"x": found}
    return found


def token(**fields: Any) -> tuple[Token, ...]:
    return ({"text": "Hello", **fields},)


WIDE_ID = "漢" * (MAX_RESPONSE_ID_BYTES // 3) + "x"
WIDE_CHANNEL = "漢" * (MAX_CHANNEL_BYTES // 3) + "x"
WIDE_PART = "😀" * MAX_PART_CHARACTERS
QUOTES = large(MAX_OBJECT_BYTES, '"')
TOO_LARGE = large(MAX_OBJECT_BYTES + 1)
NUMBERS: JsonObject = {"a": 2**64 - 1, "b": -(2**63), "c": 1.7976931348623157e308, "d": 2**53 + 1}
CASES = {
    "responseId": Case(Answer(response_id="r" * MAX_RESPONSE_ID_BYTES), Answer(response_id="r" * (MAX_RESPONSE_ID_BYTES + 1))),
    "wide responseId": Case(Answer(response_id=WIDE_ID), Answer(response_id=WIDE_ID + "x")),
    "slashes as responseId": Case(Answer(response_id="/" * MAX_RESPONSE_ID_BYTES), None),
    "channel": Case(Answer(channel="c" * MAX_CHANNEL_BYTES), Answer(channel="c" * (MAX_CHANNEL_BYTES + 1)), Reason.INVALID),
    "wide channel": Case(Answer(channel=WIDE_CHANNEL), Answer(channel=WIDE_CHANNEL + "x"), Reason.INVALID),
    "slashes as channel": Case(Answer(channel="/" * MAX_CHANNEL_BYTES), None),
    "both names wide": Case(Answer(channel=WIDE_CHANNEL, response_id=WIDE_ID), None),
    "ts of the start": Case(
        Answer(times=(MAX_TIME_MS, NOW, NOW)), Answer(times=(MAX_TIME_MS + 1, NOW, NOW)), Reason.INVALID, by_producer=False
    ),
    "ts of a token": Case(
        Answer(times=(NOW, MAX_TIME_MS, NOW)), Answer(times=(NOW, MAX_TIME_MS + 1, NOW)), Reason.INVALID, by_producer=False
    ),
    "ts of the stop": Case(
        Answer(times=(0, 0, MAX_TIME_MS)), Answer(times=(0, 0, MAX_TIME_MS + 1)), Reason.INVALID, by_producer=False
    ),
    "seq": Case(Answer(stop_seq=MAX_SEQ), Answer(stop_seq=MAX_SEQ + 1), Reason.INVALID, by_producer=False),
    "text": Case(Answer(tokens=token(text="x" * MAX_TEXT_BYTES)), Answer(tokens=token(text="x" * (MAX_TEXT_BYTES + 1)))),
    "escaped text": Case(Answer(tokens=token(text="\x01" * MAX_TEXT_BYTES)), None),
    "wide text": Case(
        Answer(tokens=token(text="😀" * (MAX_TEXT_BYTES // 4))), Answer(tokens=token(text="😀" * (MAX_TEXT_BYTES // 4) + "x"))
    ),
    "kind": Case(
        Answer(tokens=token(kind="k" * MAX_KIND_CHARACTERS)), Answer(tokens=token(kind="k" * (MAX_KIND_CHARACTERS + 1))), Reason.INVALID
    ),
    "part": Case(
        Answer(tokens=token(kind="k", part=WIDE_PART)), Answer(tokens=token(kind="k", part=WIDE_PART + "x"))
    ),
    "parts": Case(Answer(tokens=tuple(token(kind="k", part=f"{n:02}{WIDE_PART[2:]}")[0] for n in range(MAX_PARTS))), None),
    "metadata": Case(Answer(metadata=large(MAX_OBJECT_BYTES)), Answer(metadata=TOO_LARGE)),
    "metadata of quotes": Case(Answer(metadata=QUOTES), None),
    "deep metadata": Case(Answer(metadata=nested(MAX_OBJECT_DEPTH)), Answer(metadata=nested(MAX_OBJECT_DEPTH + 1))),
    "numbers in metadata": Case(Answer(metadata=NUMBERS), None),
    "numbers in usage": Case(Answer(usage=NUMBERS), None),
    "numbers in partInfo": Case(Answer(tokens=token(kind="k", part_info=NUMBERS)), None),
    "partInfo": Case(
        Answer(tokens=token(kind="k", part_info=large(MAX_OBJECT_BYTES))), Answer(tokens=token(kind="k", part_info=TOO_LARGE))
    ),
    "partInfo of quotes and wide names": Case(
        Answer(response_id=WIDE_ID, tokens=token(kind="k", part=WIDE_PART, part_info=QUOTES, text="\x01" * MAX_TEXT_BYTES)), None
    ),
    "partInfo of every part": Case(
        Answer(tokens=tuple(token(kind="k", part=f"{n:02}{WIDE_PART[2:]}", part_info=QUOTES)[0] for n in range(MAX_PARTS))), None
    ),
    "usage": Case(Answer(usage=large(MAX_OBJECT_BYTES)), Answer(usage=TOO_LARGE)),
    "deep usage": Case(Answer(usage=nested(MAX_OBJECT_DEPTH)), Answer(usage=nested(MAX_OBJECT_DEPTH + 1))),
    "error": Case(
        Answer(reason="error", error=large(MAX_OBJECT_BYTES)), Answer(reason="error", error=TOO_LARGE)
    ),
    "every object": Case(Answer(reason="error", metadata=QUOTES, usage=QUOTES, error=QUOTES), None),
}  # fmt: skip
BEYOND = {name: case for name, case in CASES.items() if case.beyond is not None}


def relayed(answer: Answer) -> World:
    """What a relay makes of it: frames on its channel, records in `responses`."""
    world = World([*answer.values()], Random(1))
    world.faulty = False
    world.finish()
    return world


def record_at(world: World, index: int) -> bytes:
    value = world.responses[index][1]
    assert value is not None
    return value


def stored(answer: Answer) -> Entry:
    return Entry.of(Position(3, 2**62), record_at(relayed(answer), -1))


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def answer(request: pytest.FixtureRequest) -> Answer:
    case: Case = request.param
    return case.at


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_intake_takes_what_is_at_the_limit_and_nothing_beyond(case: Case) -> None:
    assert all(isinstance(Decoder().decode(value), TokenRecord) for value in case.at.values())
    if case.beyond is not None:
        found = [Decoder().decode(value) for value in case.beyond.values()]
        refused = {record.reason for record in found if isinstance(record, Invalid)}
        assert refused == {case.reason}


async def written(answer: Answer) -> None:
    """Through a producer that is not connected: what is not allowed raises before that does."""
    writer = TokenProducer("127.0.0.1:1").response(
        answer.channel, metadata=answer.metadata, response_id=answer.response_id
    )
    for one in answer.tokens:
        with pytest.raises(RuntimeError, match="not connected"):
            await writer.token(**one)
    with pytest.raises(RuntimeError, match="not connected"):
        await writer.stop(reason=answer.reason, usage=answer.usage, error=answer.error)


async def test_the_producer_takes_what_is_at_the_limit(answer: Answer) -> None:
    await written(answer)


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in BEYOND.items() if case.by_producer])
async def test_the_producer_refuses_what_is_beyond(case: Case) -> None:
    assert case.beyond is not None
    with pytest.raises(ValueError, match=r"is over|must|deeper"):
        await written(case.beyond)


def test_a_response_at_the_limit_is_framed_whole_and_both_readers_prove_it(answer: Answer) -> None:
    world = relayed(answer)
    assert not world.dead
    reader, steps = Reader(), []
    for frame in world.published:
        data = json.loads(frame.data or "null") if frame.json else frame.data
        names = sum(json_length(text) for text in (frame.id, *frame.headers.values()))
        assert json_length(frame.data or "") + names < world.limits.frame_bytes
        reader.feed(Message(name=frame.name, data=data, headers=frame.headers, client_id="tokenstream"))
        message = {"name": frame.name, "data": data, "headers": frame.headers, "clientId": "tokenstream"}
        steps.append({"feed": message})
    script = json.dumps({"steps": steps}) + "\n"
    done = subprocess.run(["node", RUNNER], input=script, capture_output=True, text=True, check=True, timeout=60)
    (twin,) = json.loads(done.stdout)["responses"]
    response = reader.responses[answer.response_id]
    for status, verified, last in (
        (response.status, response.verified, response.last),
        (twin["status"], twin["verified"], twin["seq"]),
    ):
        assert status == ("failed" if answer.reason == "error" else "complete")
        assert verified is True
        assert last == (answer.stop_seq or len(answer.tokens) + 1)
    texts = [one["text"] for one in answer.tokens]
    assert [part.text for part in response.parts.values()] == texts == [part["text"] for part in twin["parts"]]
    assert response.metadata == answer.metadata


async def test_every_store_takes_what_is_at_a_limit(store: ResponseStore) -> None:
    answers = [replace(case.at, response_id=_own_id(number, case.at)) for number, case in enumerate(CASES.values())]
    for number, answer in enumerate(answers):
        opening, final = record_at(relayed(answer), 0), record_at(relayed(answer), -1)
        await store.upsert_batch([Entry.of(Position(3, 2 * number), opening)])
        await store.upsert_batch([Entry.of(Position(3, 2 * number + 1), final)])
        found = await store.get(answer.response_id)
        assert found is not None
        assert found.value == final
    for channel in {answer.channel for answer in answers}:
        held = {answer.response_id for answer in answers if answer.channel == channel}
        listed, hydrated = await store.list_channel(channel, limit=500), await store.hydrate(channel, limit=500)
        assert {item.response_id for item in listed.items} == held
        assert {item.response_id for item in hydrated.items} == held


def _own_id(number: int, answer: Answer) -> str:
    """Another for each case, of the same length."""
    mark = f"{number:02}"
    return mark + answer.response_id[len(mark) :] if len(answer.response_id) > 3 else f"r-{number}"


async def test_the_api_serves_what_is_at_a_limit(tmp_path: Path) -> None:
    metrics = Metrics()
    async with opened(f"sqlite:///{tmp_path}/s.db") as store:
        api = ApiParts(store, Access(open=True))
        server = HttpServer(make_app(metrics, Health(metrics, list), api), host="127.0.0.1", port=0)
        async with server, aiohttp.ClientSession() as http:
            for case in CASES.values():
                entry = stored(case.at)
                await store.upsert_batch([entry], force=True)
                channel, response_id = quote(case.at.channel, safe=""), quote(case.at.response_id, safe="")
                for path in (f"channels/{channel}/hydrate", f"channels/{channel}/responses"):
                    async with http.get(URL(f"http://127.0.0.1:{server.port}/v1/{path}", encoded=True)) as got:
                        assert got.status == 200
                        items = (await got.json())["items"]
                        assert case.at.response_id in [item["responseId"] for item in items]
                async with http.get(
                    URL(f"http://127.0.0.1:{server.port}/v1/responses/{response_id}", encoded=True)
                ) as got:
                    assert got.status == 200
                    assert (await got.json())["metadata"] == case.at.metadata
