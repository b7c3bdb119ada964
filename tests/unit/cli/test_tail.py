"""Following a channel without one: what is repaired, what is hidden, what is shown."""

import asyncio
import hashlib
from collections.abc import Sequence

from processor.ably.subscription import Interrupted, SubscriptionUnavailable
from processor.cli.shared import visible
from processor.cli.tail import Follower, JsonLines, PlainLines, TailLanes, as_fields
from processor.reader.events import ReaderEvent, Stopped
from processor.reader.frames import Message
from support.virtual_time import in_virtual_time


def start(response_id: str) -> Message:
    return message("start", response_id, 0, {"model": "m"})


def token(response_id: str, seq: int, text: str, offset: int) -> Message:
    return message("token", response_id, seq, text, seqEnd=str(seq), offset=str(offset))


def stop(response_id: str, seq: int, text: str) -> Message:
    part = {"part": "text", "length": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return message("stop", response_id, seq, {"reason": "stop", "status": "complete", "parts": [part]})


def message(name: str, response_id: str, seq: int, data: object, **headers: str) -> Message:
    given = {"responseId": response_id, "seq": str(seq), **headers}
    return Message(name=name, data=data, headers=given, client_id="tokenstream")


class Channel:
    """Gives `live` in order, then nothing; `kept` is its history, which is away while `away`."""

    def __init__(self, live: Sequence[Message | Interrupted] = (), kept: Sequence[Message] = ()) -> None:
        self.live, self.kept = list(live), list(kept)
        self.asked = 0
        self.away = False

    async def next(self, within: float) -> Message | Interrupted | None:
        await asyncio.sleep(0)
        return self.live.pop(0) if self.live else None

    async def history(self) -> list[Message]:
        self.asked += 1
        if self.away:
            raise SubscriptionUnavailable("the history can't be read")
        return list(self.kept)


async def follow(follower: Follower, ends: int) -> list[ReaderEvent]:
    happened: list[ReaderEvent] = []
    async with asyncio.timeout(20):
        async for some in follower.events():
            happened += some
            if sum(isinstance(one, Stopped) for one in happened) >= ends:
                return happened
    return happened


def text_of(happened: Sequence[ReaderEvent], response_id: str) -> str:
    told = [as_fields(one, None) for one in happened if one.response_id == response_id]
    return "".join(fields["text"] for fields in told if fields["happening"] == "text")


WHOLE = [start("r"), token("r", 1, "Hel", 0), token("r", 2, "lo", 3), stop("r", 3, "Hello")]


async def test_who_joins_late_sees_a_running_response_from_its_beginning() -> None:
    happened = await follow(Follower(Channel(WHOLE[2:], kept=WHOLE[:2]), "tokenstream"), 1)
    assert text_of(happened, "r") == "Hello"
    assert happened[-1] == Stopped("r", "complete", verified=True)


async def test_what_ended_before_is_not_shown_unless_asked_for() -> None:
    later = [start("s"), stop("s", 1, "")]
    happened = await follow(Follower(Channel(later, kept=WHOLE), "tokenstream"), 1)
    assert {one.response_id for one in happened} == {"s"}
    happened = await follow(Follower(Channel(later, kept=WHOLE), "tokenstream", ended=True), 2)
    assert {one.response_id for one in happened} == {"r", "s"}


async def test_a_single_response_is_followed_among_others() -> None:
    channel = Channel([start("s"), *WHOLE, stop("s", 1, "")])
    happened = await follow(Follower(channel, "tokenstream", only="r"), 1)
    assert {one.response_id for one in happened} == {"r"}


async def test_what_was_missed_is_taken_from_the_history() -> None:
    channel = Channel([WHOLE[0], Interrupted(), WHOLE[3]])
    channel.kept = WHOLE[:3]
    happened = await follow(Follower(channel, "tokenstream"), 1)
    assert text_of(happened, "r") == "Hello"
    assert happened[-1] == Stopped("r", "complete", verified=True)


@in_virtual_time
async def test_what_can_not_be_repaired_is_given_up_after_some_attempts() -> None:
    channel = Channel([WHOLE[0], WHOLE[2], WHOLE[3]])
    channel.away = True
    follower = Follower(channel, "tokenstream")
    happened = await follow(follower, 1)
    assert channel.asked < 10
    assert text_of(happened, "r") == "lo"
    assert not follower.reader.responses["r"].complete


async def test_lines_and_lanes_show_what_a_terminal_would_obey() -> None:
    sly = [start("r"), token("r", 1, "\x1b[2J[red]x", 0), stop("r", 2, "\x1b[2J[red]x")]
    follower = Follower(Channel(sly), "tokenstream")
    happened = await follow(follower, 1)
    lines: list[str] = []
    PlainLines(lines.append, visible).update(happened, follower.reader)
    assert lines[0] == "r start metadata={'model': 'm'}"
    assert not any("\x1b" in line for line in lines)

    lanes = TailLanes(visible)
    lanes.update(happened, follower.reader)
    drawn = lanes.drawn(width=60, height=20)
    assert "␛[2J[red]x" in drawn
    assert "r · complete ✓ · 1 tokens" in drawn


async def test_json_lines_have_each_event() -> None:
    follower = Follower(Channel(WHOLE), "tokenstream")
    happened = await follow(follower, 1)
    told: list[object] = []
    JsonLines(told.append).update(happened, follower.reader)
    assert told[1] == {"happening": "text", "responseId": "r", "part": "text", "text": "Hel"}
    assert told[-1] == {
        "happening": "stop",
        "responseId": "r",
        "status": "complete",
        "reason": "stop",
        "verified": True,
        "complete": True,
    }


async def test_lanes_that_do_not_fit_leave_room_for_the_newest() -> None:
    live = [message for number in range(9) for message in (start(f"r-{number}"), stop(f"r-{number}", 1, ""))]
    follower = Follower(Channel(live), "tokenstream")
    lanes = TailLanes(visible)
    lanes.update(await follow(follower, 9), follower.reader)
    drawn = lanes.drawn(width=60, height=20)
    assert "r-8" in drawn
    assert "r-0" not in drawn
