"""The rows of the table without a realtime service: readers follow the streams of gateways."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from devtools.faultlab.direct_stand import DirectSetup, DirectStand
from devtools.faultlab.load import Shape
from devtools.faultlab.rows import Row
from processor.kafka.connection import KafkaConnection
from processor.kafka.log_follower import LogFollower

WARM_UP = 5.0
AWAY = 4.0
HELD = 20.0
"""Seconds in which slow readers take nothing. What is published meanwhile is more than sockets hold."""
SLOW_READERS = 4
RETURNING = 8
JOINING = 100
KILLS = 8
EVERY = 15.0
FEW_BYTES = "20000"

DirectScenario = Callable[[DirectStand], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectRow(Row):
    run: DirectScenario
    setup: DirectSetup = field(default_factory=DirectSetup)


async def relay_killed(stand: DirectStand) -> None:
    for turn in range(3):
        await asyncio.sleep(WARM_UP)
        stand.say(f"kill -9 of relay {turn % len(stand.relays)}")
        stand.mark()
        await stand.crew.kill_and_restart(stand.relays[turn % len(stand.relays)])
        stand.strike("kill -9 of a relay", 1)
        await stand.until_all_move()


async def gateway_killed(stand: DirectStand) -> None:
    for turn in range(4):
        await asyncio.sleep(WARM_UP)
        gateway = stand.gateways[turn % len(stand.gateways)]
        stand.say(
            f"kill -9 of gateway {turn % len(stand.gateways)}, which has {await readers_of(gateway.metric)} readers"
        )
        stand.mark()
        stand.strike("readers cut off", await readers_of(gateway.metric))
        await stand.crew.kill_and_restart(gateway)
        await stand.crew.ready(gateway)
        await stand.until_all_move()


async def readers_of(metric: Callable[[str], Awaitable[float]]) -> int:
    return int(await metric("tokenstream_gateway_clients"))


async def readers_stand_still(stand: DirectStand) -> None:
    """Some take nothing for a while. The others must not notice."""
    stand.others = stand.new_readers(SLOW_READERS)
    await stand.come(stand.others)
    await asyncio.sleep(WARM_UP)
    before = await stand.resets()
    stand.say(f"{SLOW_READERS} readers take nothing for {HELD:.0f} s")
    stand.mark()
    for reader in stand.others:
        reader.held = True
    await asyncio.sleep(HELD)
    for reader in stand.others:
        reader.held = False
    stand.say("they read on")
    await asyncio.sleep(WARM_UP)
    stand.strike("reset", await stand.resets() - before)


async def frames_trimmed(stand: DirectStand) -> None:
    """What readers and gateways would go on from is deleted, as retention does it, while readers are away and a gateway starts."""
    stand.others = stand.new_readers(RETURNING)
    await stand.come(stand.others)
    for turn in range(3):
        await asyncio.sleep(WARM_UP)
        await asyncio.gather(*(reader.leave() for reader in stand.others))
        await asyncio.sleep(AWAY)
        gateway = stand.gateways[turn % len(stand.gateways)]
        deleted = await delete_frames(stand)
        stand.say(f"{deleted} records of the frames topic deleted, kill -9 of a gateway, {RETURNING} readers come back")
        stand.mark()
        stand.strike("frames deleted", deleted)
        await stand.crew.kill_and_restart(gateway)
        await stand.crew.ready(gateway)
        for reader in stand.others:
            reader.come()
        await stand.until_all_move()


async def delete_frames(stand: DirectStand) -> int:
    """Deletes all that is on the topic now. Returns the number of records."""
    topic, bootstrap = str(stand.lab.names.frames), stand.lab.bootstrap
    follower = LogFollower(lambda: KafkaConnection(bootstrap), topic)
    begins = await follower.start({})
    ends = await follower.ends()
    await follower.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        wanted = {TopicPartition(topic, number): RecordsToDelete(before_offset=end) for number, end in ends.items()}
        await admin.delete_records(wanted)
    finally:
        await admin.close()
    return sum(ends[number] - begins[number] for number in ends)


async def gateways_roll(stand: DirectStand) -> None:
    """SIGTERM and a new start, one gateway after the other."""
    for _ in range(2):
        await asyncio.sleep(WARM_UP)
        stand.say(f"rolling restart of {len(stand.gateways)} gateways under {len(stand.readers)} readers")
        stand.mark()
        for gateway in tuple(stand.gateways):
            code = await stand.crew.stop_and_restart(gateway)
            if code != 0:
                stand.say(f"WRONG: a gateway left with {code}, not 0, after SIGTERM")
        await stand.until_all_move()
    stand.strike("bye", sum(reader.events.names.count("bye") for reader in stand.readers))


async def crowd(stand: DirectStand) -> None:
    """Readers join, reload and reconnect at random while a relay or a gateway is killed every 15 s."""
    chance = random.Random(stand.setup.seed)
    stand.others = stand.new_readers(JOINING)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_move_about(stand, chance, over))
        for turn in range(KILLS):
            await asyncio.sleep(EVERY)
            role, processes = ("relay", stand.relays) if turn % 2 == 0 else ("gateway", stand.gateways)
            stand.say(f"kill -9 of a {role}")
            stand.strike(f"kill -9 of a {role}", 1)
            await stand.crew.kill_and_restart(chance.choice(processes))
        over.set()
    await asyncio.sleep(EVERY)


async def _move_about(stand: DirectStand, chance: random.Random, over: asyncio.Event) -> None:
    """Returns once it is over and everyone has joined."""
    waiting = list(stand.others)
    while waiting or not over.is_set():
        await asyncio.sleep(chance.uniform(0.0, 0.2))
        if waiting and chance.random() < 0.3:
            waiting.pop().come()
            stand.strike("join", 1)
            continue
        reader = chance.choice(stand.readers)
        if chance.random() < 0.5:
            await reader.reload()
            stand.strike("reload", 1)
        else:
            await reader.reconnect()
            stand.strike("reconnect", 1)


STEADY = Shape(slots=8, channels=4, pause=0.08)

DIRECT_ROWS = (
    DirectRow(
        name="direct-kill-relay",
        title="Without a realtime service: kill -9 of a relay, 3 times",
        run=relay_killed,
        setup=DirectSetup(relays=2, shape=STEADY),
        exact=False,
    ),
    DirectRow(
        name="direct-kill-gateway",
        title="Without a realtime service: kill -9 of a gateway, 4 times",
        run=gateway_killed,
        setup=DirectSetup(readers=40, shape=STEADY),
    ),
    DirectRow(
        name="direct-slow-reader",
        title="Without a realtime service: readers that take nothing for 20 s",
        run=readers_stand_still,
        setup=DirectSetup(
            shape=Shape(slots=4, channels=2, pause=0.015, shortest=80, longest=120, padding=6_000),
            settings={"DIRECT_CHANNEL_RATE": "0"},
        ),
    ),
    DirectRow(
        name="direct-trimmed",
        title="Without a realtime service: the frames topic trimmed under readers that are away, and kill -9 of a gateway",
        run=frames_trimmed,
        setup=DirectSetup(shape=STEADY, settings={"GATEWAY_MAX_BUFFERED_BYTES": FEW_BYTES}),
    ),
    DirectRow(
        name="direct-rolling-restart",
        title="Without a realtime service: rolling restart of three gateways under 500 readers, twice",
        run=gateways_roll,
        setup=DirectSetup(
            gateways=3,
            readers=500,
            shape=Shape(slots=10, channels=10, pause=0.25, shortest=30, longest=90),
            settings={"DRAIN_TIMEOUT": "10"},
        ),
    ),
    DirectRow(
        name="direct-crowd",
        title="Without a realtime service: 500 readers join, reload and reconnect at random, a relay or a gateway killed every 15 s",
        run=crowd,
        setup=DirectSetup(
            relays=2,
            gateways=3,
            readers=400,
            shape=Shape(slots=10, channels=10, pause=0.25, shortest=30, longest=90),
        ),
        exact=False,
    ),
)
