"""What a row does to its processes and services. Each returns when the fault is over; the load runs on."""

import asyncio
import errno
import json
import signal
from collections.abc import Collection
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from devtools.faultlab.lag import PARTITIONS
from devtools.faultlab.sides import Side
from devtools.faultlab.stand import KAFKA_DEADLINE, Stand
from devtools.raw_batches import batch, sealed, send_raw
from devtools.topic_reader import read_topic
from processor.kafka.connection import KafkaConnection
from processor.kafka.tombstones import KafkaTombstones

MOST_CONNECTS = 40
"""After one pause, of all connections of a relay."""

ODD_ANSWERS: tuple[dict[str, object], ...] = (
    {"status": 502},
    {"status": 204, "body": "", "content_type": ""},
    {"status": 429, "body": '{"error": {"code": "TooManyRequests"}}', "content_type": "application/json"},
    {"status": 200, "body": '[{"results": null}]', "content_type": "application/json", "accepted": True},
    {"status": 200, "body": "[", "content_type": "application/json", "accepted": True},
)

POISON: tuple[bytes | None, ...] = (
    b"not json at all",
    b"\xff\xfe\x00",
    None,
    b"[]",
    b'{"v":99,"event":"token","responseId":"poison","seq":1,"text":"x"}',
    b'{"v":1,"event":"token","responseId":"","seq":1,"text":"x"}',
    b'{"v":1,"event":"token","responseId":"poison","seq":-1,"text":"x"}',
    b'{"v":1,"event":"start","responseId":"poison","seq":0,"channel":"[bad]"}',
    b'{"v":1,"event":"token","responseId":"poison","seq":1,"text":' + b'"' + b"x" * 300_000 + b'"}',
)


async def kill_relay(stand: Stand, index: int = 0) -> None:
    """SIGKILL; the process is started again a second later, as an orchestrator does."""
    stand.say(f"kill -9 of relay {index}")
    stand.mark()
    await stand.each(lambda side: side.crew.kill_and_restart(side.relays[index]))


async def stop_and_continue(stand: Stand, seconds: float, index: int = 0, *, successor: bool = False) -> None:
    """SIGSTOP, and SIGCONT after `seconds`, or later, when a `successor` that is started meanwhile is ready."""
    stand.say(f"SIGSTOP of relay {index} for {seconds:.0f} s")
    stand.mark()
    frozen = [side.relays[index] for side in stand.sides]
    for relay in frozen:
        relay.signal(signal.SIGSTOP)
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(seconds))
        if successor:
            group.create_task(stand.each(lambda side: side.add_relay()))
    stand.say("SIGCONT")
    for relay in frozen:
        if relay.returncode is None:
            relay.signal(signal.SIGCONT)


async def pause_again_and_again(stand: Stand, times: int, stopped: float, running: float) -> None:
    """Of every relay of tokenstream. The connections that it takes are counted: a few for each pause, not hundreds a second."""
    stand.say(f"{times} pauses of {stopped:.0f} s, {running:.0f} s between them")
    relays, before = stand.tokenstream.relays, stand.tokenstream.realtime.connects
    for turn in range(times):
        for relay in relays:
            relay.signal(signal.SIGSTOP)
        await asyncio.sleep(stopped)
        if turn == times - 1:
            stand.mark()  # of the others, `running` seconds may be too few to recover before the next pause
        for relay in relays:
            relay.signal(signal.SIGCONT)
        await asyncio.sleep(running)
    await stand.until_all_channels_move()
    made = stand.tokenstream.realtime.connects - before
    stand.say(f"{made} connects" if made < MOST_CONNECTS * times else f"WRONG: {made} connects after {times} pauses")


async def delete_finished(stand: Stand) -> set[str]:
    """Delete all responses that are stored as finished, as the API does: by a tombstone, which the archive follows."""
    tombstones = KafkaTombstones(lambda: KafkaConnection(stand.around.bootstrap), responses_topic=stand.names.responses)
    deleted: set[str] = set()
    try:
        for one in list(stand.load.given):
            stored = await stand.store.get(one.response_id)
            if stored is not None and stored.record.status.finished:
                await tombstones.write(one.response_id, stored.position.partition)
                deleted.add(one.response_id)
    finally:
        await tombstones.close()
    stand.say(f"{len(deleted)} finished responses deleted")
    return deleted


async def repeat_starts(stand: Stand, response_ids: Collection[str]) -> int:
    """Copy the start records of these responses to the end of their partitions, as a mirror or a bridge may. How many."""
    copies = [
        record
        async for record in read_topic(stand.around.bootstrap, stand.names.tokens)
        if b'"start"' in record.value and json.loads(record.value)["responseId"] in response_ids
    ]
    async with AIOKafkaProducer(bootstrap_servers=stand.around.bootstrap, acks="all") as producer:
        for one in copies:
            await producer.send_and_wait(stand.names.tokens, one.value, key=one.key, partition=one.partition)
    stand.say(f"{len(copies)} starts of responses that have ended come once more")
    return len(copies)


async def strange_records(stand: Stand) -> set[tuple[int, int]]:
    """A header whose name is no UTF-8, of a response without a start, and a long record cut off inside a string.

    Their partitions and offsets.
    """
    stand.say("records of strangers")
    inner = json.dumps([{"a": 1, "b": "x"}] * 6_000)
    cut = json.dumps({"v": 1, "event": "token", "responseId": "strange", "seq": 1, "text": inner}).encode()[:-20]
    token = b'{"v":1,"event":"token","responseId":"strange","seq":1,"text":"x"}'
    named = sealed(batch([(b"strange", token, [("zqzq", b"x")])]).replace(b"zqzq", b"\xff\xfezq"))
    written: set[tuple[int, int]] = set()
    for partition in range(PARTITIONS):
        for data in (named, batch([(b"strange", cut, [])])):
            written.add((partition, await send_raw(stand.around.bootstrap, stand.names.tokens, partition, data, 1)))
        await asyncio.sleep(0.5)
    return written


async def roll(stand: Stand) -> None:
    """SIGTERM and a new start, one relay after the other."""

    async def one_side(side: Side) -> None:
        for relay in tuple(side.relays):
            code = await side.crew.stop_and_restart(relay)
            if code != 0 and side is stand.tokenstream:
                stand.say(f"a relay left with {code}, not 0, after SIGTERM")

    stand.say("rolling restart")
    stand.mark()
    await stand.each(one_side)


async def realtime_down(stand: Stand, seconds: float) -> None:
    stand.say(f"realtime down for {seconds:.0f} s")
    for side in stand.sides:
        side.realtime.faults.add({"down": {"seconds": seconds}})
    await asyncio.sleep(seconds)
    stand.mark()


async def broker_down(stand: Stand, seconds: float) -> None:
    """SIGKILL of the only broker; recovery counts from when it serves again."""
    broker = stand.around.broker
    assert broker is not None
    stand.say(f"kill -9 of the broker, back in {seconds:.0f} s")
    broker.kill()
    await asyncio.sleep(seconds)
    await broker.start(deadline=KAFKA_DEADLINE)
    stand.mark()


async def storage_down(stand: Stand, seconds: float) -> None:
    assert stand.postgres is not None
    stand.say(f"PostgreSQL stopped for {seconds:.0f} s")
    before = await archive_failures(stand)
    await asyncio.to_thread(stand.postgres.crash)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(stand.postgres.restart)
    await must_have_failed(stand, before)
    await stand.store_recovers()


async def kill_archive(stand: Stand) -> None:
    stand.say("kill -9 of the archive")
    crew = stand.tokenstream.crew
    await crew.kill_and_restart(crew.of("archive")[0])
    await stand.store_recovers()


async def disk_full(stand: Stand, seconds: float) -> None:
    """Fill the file system the database is on to its last byte, for `seconds`."""
    stand.say(f"disk full for {seconds:.0f} s")
    assert stand.around.disk is not None
    ballast = stand.around.disk / "ballast"
    before = await archive_failures(stand)
    await asyncio.to_thread(fill, ballast)
    await asyncio.sleep(seconds)
    ballast.unlink()
    await must_have_failed(stand, before)
    await stand.store_recovers()


async def archive_failures(stand: Stand) -> float:
    """Returns how often the archive could not store a batch; 0 while it is unreachable."""
    try:
        return await stand.tokenstream.crew.of("archive")[0].metric("tokenstream_archive_failures_total")
    except aiohttp.ClientError:
        return 0.0


async def must_have_failed(stand: Stand, before: float) -> None:
    """An archive that noticed nothing proves nothing."""
    failures = await archive_failures(stand) - before
    stand.struck["batch not stored"] = stand.struck.get("batch not stored", 0) + int(failures)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


async def poison(stand: Stand, times: int, pause: float) -> set[tuple[int, int]]:
    """Records no relay can use, among the good ones. Their partitions and offsets."""
    stand.say(f"{times * len(POISON)} poisonous records")
    producer = AIOKafkaProducer(bootstrap_servers=stand.around.bootstrap, acks="all")
    await producer.start()
    written: set[tuple[int, int]] = set()
    try:
        for number in range(times):
            for value in POISON:
                key = stand.load.channels[number % len(stand.load.channels)].encode()
                sent: RecordMetadata = await producer.send_and_wait(stand.names.tokens, value, key=key)
                written.add((sent.partition, sent.offset))
                await asyncio.sleep(pause)
    finally:
        await producer.stop()
    return written
