"""The lab of streams can fail: a reader that misses, repeats or never ends a response comes out in the counts."""

from typing import Any

import aiohttp
import pytest

from devtools.event_readers import Event
from devtools.faultlab.direct_running import judge_readers
from devtools.faultlab.direct_stand import DirectReader
from devtools.judge.texts import Tally
from devtools.produced import Produced

TOKENS = [("text", f"word<{number}>") for number in range(1, 6)]
GIVEN = Produced("r", "chat:0", ended=True)
for part, text in TOKENS:
    GIVEN.add(part, text)


def snapshot(text: str, status: str = "complete") -> Event:
    part = {"part": "text", "kind": "text", "text": text, "length": len(text)}
    ended = None if status == "streaming" else "stop"
    record: dict[str, Any] = {"responseId": "r", "channel": "chat:0", "status": status, "reason": ended, "seq": 6}
    record |= {"v": 1, "error": None, "parts": [part], "tokens": 5, "gaps": [], "metadata": None, "usage": None}
    return Event("snapshot", "p1.0-1", {"data": record})


async def counted(*events: Event) -> Tally:
    tally = Tally()
    async with aiohttp.ClientSession() as http:
        reader = DirectReader("chat:0", [1], http)
        reader.events.take(events)
        judge_readers(tally, GIVEN, [reader, DirectReader("another", [1], http)])
    return tally


async def test_a_reader_that_has_everything_is_faultless() -> None:
    tally = await counted(snapshot("".join(text for _, text in TOKENS)))
    assert (tally.lost, tally.unfinished, tally.problems) == (set(), set(), [])


@pytest.mark.parametrize(
    ("text", "lost", "repeated"),
    [
        ("word<1>word<2>word<4>word<5>", {("r", 3)}, 0),
        ("word<1>word<2>word<2>word<3>word<4>word<5>", set(), 1),
    ],
)
async def test_what_differs_is_counted(text: str, lost: set[tuple[str, int]], repeated: int) -> None:
    tally = await counted(snapshot(text))
    assert (tally.lost, tally.repeated_for_reader) == (lost, repeated)
    assert any("SHA-256" in problem for problem in tally.problems)


async def test_a_response_without_an_end_is_unfinished() -> None:
    tally = await counted(snapshot("".join(text for _, text in TOKENS), status="streaming"))
    assert tally.unfinished == {"r"}


async def test_a_reader_that_saw_nothing_lost_everything() -> None:
    tally = await counted()
    assert len(tally.lost) == len(TOKENS)
