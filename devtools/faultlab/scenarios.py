"""What happens in each row while responses stream."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from devtools.emulator.server import DEFAULT_KEY
from devtools.faultlab import faults
from devtools.faultlab.sides import letter_of, missing_of
from devtools.faultlab.stand import Stand
from devtools.topic_reader import read_topic
from devtools.waiting import eventually

WARM_UP = 6.0
AFTER = 12.0
FORGOTTEN = 8.0
IDLE = 15.0
SOME = 5
"""Responses that must have ended before something is done to those that have."""

Scenario = Callable[[Stand], Awaitable[None]]


async def steady(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    stand.mark()
    await asyncio.sleep(18)


def switched(spec: Mapping[str, Any], plain: Mapping[str, Any] | None = None, seconds: float = 18.0) -> Scenario:
    """Activates a fault of the realtime service for `seconds`, and until it was injected."""

    async def run(stand: Stand) -> None:
        await asyncio.sleep(WARM_UP)
        stand.say(f"on: {spec}")
        stand.mark()
        stand.add_faults(spec, plain)
        await asyncio.sleep(seconds)
        with contextlib.suppress(AssertionError):  # clear_faults reports faults that were never injected
            await eventually(stand.all_faults_have_struck, deadline=120, every=0.5)
        stand.clear_faults()
        stand.say("off")
        await asyncio.sleep(4)

    return run


async def killed_thrice(stand: Stand) -> None:
    """In turn, so that an owner is among them however the partitions are shared out."""
    for index in (0, 1, 0):
        await asyncio.sleep(WARM_UP)
        await faults.kill_relay(stand, index)
        await asyncio.sleep(AFTER + 3)
        await stand.until_all_channels_move()


async def paused(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.pause_again_and_again(stand, 5, 20, 3.6)
    await asyncio.sleep(AFTER)


async def odd_answers(stand: Stand) -> None:
    """Each in turn, to a share of the requests, those for histories too: a relay is killed meanwhile."""
    for answer in faults.ODD_ANSWERS:
        await switched({"odd_answer": {"share": 0.2, **answer}}, seconds=4)(stand)
    stand.add_faults(
        {"odd_answer": {"share": 0.5, "status": 200, "body": "[[], 1]", "content_type": "application/json"}}
    )
    await faults.kill_relay(stand)
    await asyncio.sleep(AFTER)
    stand.clear_faults()
    await stand.until_all_channels_move()


async def deleted_in_a_takeover(stand: Stand) -> None:
    """Finished responses are deleted while nobody relays: what the successor reads of them again must turn up nowhere."""
    await asyncio.sleep(2 * WARM_UP)
    await eventually(lambda: _some_are_stored(stand), deadline=120, every=1)
    stand.mark()
    deleted: set[str] = set()
    published = 0
    for relay in stand.tokenstream.relays:
        relay.signal(signal.SIGSTOP)
    try:
        deleted = await faults.delete_finished(stand)
        published = stand.tokenstream.frames_of(deleted)
    finally:
        restarting = [stand.tokenstream.crew.kill_and_restart(relay) for relay in stand.tokenstream.relays]
        await asyncio.gather(*restarting)
    await asyncio.sleep(AFTER)
    await stand.until_all_channels_move()
    for one in [one for one in stand.load.given if one.response_id in deleted]:
        stand.load.given.remove(one)  # nothing but its absence is judged
    found = [letter async for _, value in letters(stand) if (letter := letter_of(value)) and letter[0] in deleted]
    kept = [response_id for response_id in deleted if await stand.store.get(response_id) is not None]
    more = stand.tokenstream.frames_of(deleted) - published
    wrong = f"WRONG: of deleted responses {len(found)} tokens are dead letters, {len(kept)} are stored, {more} frames published"
    stand.say(wrong if found or kept or more else f"of {len(deleted)} deleted responses nothing came back")
    stand.struck["deletion"] = len(deleted)


async def _some_are_stored(stand: Stand) -> bool:
    ended = stand.tokenstream.stopped()
    return len(ended) >= SOME and await stand.has_stored(sorted(ended)[:SOME])


async def late_starts(stand: Stand) -> None:
    """The start of every response that has ended comes once more, after the relay has forgotten its end by time alone."""
    await asyncio.sleep(3 * WARM_UP)
    await eventually(lambda: len(stand.tokenstream.stopped()) >= SOME, deadline=120, every=0.5)
    ended = stand.tokenstream.stopped()
    await asyncio.sleep(FORGOTTEN)
    stand.mark()
    copies = await faults.repeat_starts(stand, ended)
    stand.struck["late start"] = copies
    await asyncio.sleep(2 * IDLE)
    await stand.until_all_channels_move()


async def strangers(stand: Stand) -> None:
    """Records that our producer would not write, in each partition: what follows them is published all the same."""
    await asyncio.sleep(WARM_UP)
    unusable = await faults.strange_records(stand)
    stand.mark()
    await all_in_dead_letters(stand, unusable)
    await asyncio.sleep(AFTER)
    await stand.until_all_channels_move()


async def frozen(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.stop_and_continue(stand, 20, successor=True)
    await asyncio.sleep(AFTER)
    await stand.until_all_channels_move()


async def rolling(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.roll(stand)
    await asyncio.sleep(AFTER)
    await stand.until_all_channels_move()


async def cut_off(stand: Stand) -> None:
    """One relay no longer reaches the group's coordinator; the partitions' leaders, it does."""
    proxy = stand.around.proxy
    assert proxy is not None
    await asyncio.sleep(WARM_UP)
    stand.say("one owner is cut off from the coordinator")
    stand.mark()
    proxy.cut = True
    await eventually(lambda: proxy.swallowed, deadline=60)
    await stand.each(lambda side: side.add_relay(**direct(stand, side.name)))
    await asyncio.sleep(20)
    proxy.cut = False
    stand.say("it reaches it again")
    await asyncio.sleep(AFTER)


def direct(stand: Stand, side: str) -> dict[str, str]:
    name = "KAFKA_BOOTSTRAP_SERVERS" if side == "tokenstream" else "BOOTSTRAP"
    return {name: stand.around.bootstrap}


async def broker_killed(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.broker_down(stand, 1)
    await asyncio.sleep(AFTER)
    await stand.until_all_channels_move()


async def broker_minute(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.broker_down(stand, 60)
    await asyncio.sleep(AFTER)
    await stand.until_all_channels_move()


async def realtime_three_minutes(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.realtime_down(stand, 180)
    await asyncio.sleep(AFTER)
    await stand.until_all_channels_move()


async def storage_minute(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.storage_down(stand, 60)
    await asyncio.sleep(4)


async def archive_killed(stand: Stand) -> None:
    for _ in range(3):
        await asyncio.sleep(WARM_UP)
        await faults.kill_archive(stand)


async def poisoned(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await poisoned_with(stand, rounds=2, pause=0.75)
    await asyncio.sleep(4)


async def poisoned_with(stand: Stand, *, rounds: int, pause: float) -> None:
    """Each poisonous record must come out in the dead letters, and no other."""
    await all_in_dead_letters(stand, await faults.poison(stand, rounds, pause))


async def all_in_dead_letters(stand: Stand, written: set[tuple[int, int]]) -> None:
    """Wait until the dead letters are the records at these partitions and offsets, and no other."""

    async def found() -> bool:
        assert {position async for position, _ in letters(stand)} == written
        return True

    try:
        await eventually(found, deadline=30, every=1)
    except AssertionError:
        positions = {position async for position, _ in letters(stand)}
        missing, more = len(written - positions), len(positions - written)
        stand.say(f"WRONG: {missing} unusable records miss in the dead letters, {more} letters are not of them")


async def letters(stand: Stand) -> AsyncIterator[tuple[tuple[int, int], bytes | None]]:
    """Partition and offset in `tokens`, and the value, of every dead letter."""
    async for record in read_topic(stand.around.bootstrap, stand.names.dead_letters):
        headers = dict(record.headers)
        yield (int(headers["tokenstream-partition"]), int(headers["tokenstream-offset"])), record.value


async def channel_refused(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    stand.say("chat:0 refuses this publisher permanently")
    before = {one.response_id for one in stand.load.given if one.channel == "chat:0" and one.ended}
    stand.add_faults({"nack": {"code": 40160, "channel": "^chat:0$"}})
    await asyncio.sleep(20)
    stand.refused = {}
    stand.say(f"{len(before)} responses of chat:0 ended before")


async def gather_refused(stand: Stand) -> None:
    """Which responses were refused, and what the dead letters have of them: after the load has ended."""
    if stand.refused is None:
        return
    stopped = stand.tokenstream.stopped()
    refused = [one for one in stand.load.given if one.channel == "chat:0" and one.response_id not in stopped]
    stand.refused = {one.response_id: [] for one in refused}

    async def whole() -> bool:
        assert stand.refused is not None
        found: dict[str, list[int]] = {key: [] for key in stand.refused}
        async for _, value in letters(stand):
            letter = letter_of(value)
            if letter is not None and letter[0] in found:
                found[letter[0]].append(letter[1])
        stand.refused = found
        missing = [await missing_of(one, found[one.response_id], stand.store) for one in refused]
        return all(found.values()) and not any(missing)

    with contextlib.suppress(AssertionError):
        await eventually(whole, deadline=100, every=1)


async def key_mended(stand: Stand) -> None:
    """The key is wrong from the start, and put right in its file; the plain program must be restarted for it."""
    await asyncio.sleep(10)
    stand.say("the right key is in the file")
    assert stand.around.key_file is not None
    stand.around.key_file.write_text(DEFAULT_KEY)
    stand.mark()
    if stand.plain is not None:
        await stand.plain.crew.stop_and_restart(stand.plain.relays[0])
    await asyncio.sleep(25)


async def disk_full(stand: Stand) -> None:
    await asyncio.sleep(WARM_UP)
    await faults.disk_full(stand, 20)
    await asyncio.sleep(4)


async def clock_stepped(stand: Stand) -> None:
    clock = stand.around.clock
    assert clock is not None
    for relay in stand.tokenstream.relays:
        maps = await asyncio.to_thread(Path(f"/proc/{relay.pid}/maps").read_text)
        assert "faketime" in maps, "the relay's clock is the true one"
    for offset in (3600, -3600, 0):
        await asyncio.sleep(WARM_UP + 2)
        stand.say(f"the relay's wall clock is stepped to {offset:+d} s")
        clock.set(offset)
        stand.mark()
    await asyncio.sleep(WARM_UP)
