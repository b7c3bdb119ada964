"""All faults in a random order, from a seed, for some minutes."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from devtools.faultlab import faults
from devtools.faultlab.stand import Stand

Act = Callable[[Stand, random.Random], Awaitable[None]]

SWITCHES: tuple[dict[str, dict[str, object]], ...] = (
    {"nack": {"share": 0.3, "code": 42911}},
    {"nack": {"share": 0.2, "code": 50003}},
    {"cut": {"seconds": 1.5}},
    {"disconnected": {"seconds": 2, "code": 80003}},
    {"disconnected": {"seconds": 2, "code": 50003, "status": 503}},
    {"disconnected": {"seconds": 2, "code": None}},
    {"error": {"seconds": 3, "code": 80000, "status": 400}},
    {"drop_ack": {"every": 40}},
    {"drop_publish": {"every": 40}},
    {"delay_ack": {"ms": 800}},
    {"refuse_resume": {}, "disconnected": {"seconds": 2}},
    {"freeze": {"seconds": 4}},
    {"history": {"status": 500}},
    {"latency": {"in_ms": 80, "out_ms": 80}},
)


async def mixed(stand: Stand, minutes: float = 10.0) -> None:
    chance = random.Random(stand.setup.seed)
    until = time.monotonic() + minutes * 60
    turn: list[Act] = []
    while time.monotonic() < until:
        if not turn:
            turn = [*ACTS]
            chance.shuffle(turn)
        await turn.pop()(stand, chance)
        await asyncio.sleep(chance.uniform(1, 6))
    stand.marks.clear()  # silences overlap here, and many are outages


async def switch(stand: Stand, chance: random.Random) -> None:
    """Some of the realtime service's faults at once."""
    chosen = chance.sample(SWITCHES, chance.choice((1, 1, 2)))
    stand.say("on: " + ", ".join(str(one) for one in chosen))
    for one in chosen:
        stand.add_faults(one)
    await asyncio.sleep(chance.uniform(5, 12))
    for side in stand.sides:
        side.realtime.faults.clear()
    stand.mark()


async def kill(stand: Stand, chance: random.Random) -> None:
    await faults.kill_relay(stand, chance.randrange(stand.setup.relays))


async def freeze(stand: Stand, chance: random.Random) -> None:
    await faults.stop_and_continue(stand, chance.choice((3.0, 15.0)), chance.randrange(stand.setup.relays))


async def roll(stand: Stand, _: random.Random) -> None:
    await faults.roll(stand)


async def broker(stand: Stand, chance: random.Random) -> None:
    await faults.broker_down(stand, chance.choice((1.0, 8.0)))


async def realtime(stand: Stand, chance: random.Random) -> None:
    await faults.realtime_down(stand, chance.choice((3.0, 25.0)))


async def storage(stand: Stand, chance: random.Random) -> None:
    """Neither recovery of the store nor whether a batch was due just then is what this row measures."""
    measured = len(stand.recoveries)
    await faults.storage_down(stand, chance.choice((3.0, 12.0)))
    del stand.recoveries[measured:]
    stand.struck.clear()


async def archive(stand: Stand, _: random.Random) -> None:
    crew = stand.tokenstream.crew
    stand.say("kill -9 of the archive")
    await crew.kill_and_restart(crew.of("archive")[0])


async def poison(stand: Stand, _: random.Random) -> None:
    await faults.poison(stand, 1, 0.05)


async def clock(stand: Stand, chance: random.Random) -> None:
    assert stand.around.clock is not None
    offset = chance.choice((-3600, -60, 0, 60, 3600))
    stand.say(f"the relays' wall clock is stepped to {offset:+d} s")
    stand.around.clock.set(offset)


ACTS: tuple[Act, ...] = (
    switch, switch, switch, switch, kill, kill, freeze, roll, broker, realtime, storage, archive, poison, clock,
)  # fmt: skip
