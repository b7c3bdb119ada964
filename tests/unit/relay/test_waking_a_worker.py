"""A partition's worker sleeps on while nothing waits for it, and wakes at once where something does."""

import asyncio

import orjson

from processor.core.limits import Limits
from processor.relay.worker import IDLE_WAIT
from support.partition_owners import Owner, Partition
from support.virtual_time import in_virtual_time
from support.world import LogRecord

SOON = IDLE_WAIT / 4


class Turns:
    """Lanes that publish nothing. They are woken at each turn of the worker, and where records are taken in."""

    woken = 0

    def wake(self) -> None:
        self.woken += 1

    def close(self) -> None: ...
    def stop(self) -> None: ...


def event(seq: int, **fields: object) -> LogRecord:
    return LogRecord(seq, orjson.dumps({"responseId": "r", "seq": seq, **fields}))


async def slept(record: LogRecord, *, gap_timeout: float = 30.0) -> bool:
    """Whether a worker that has just gone to sleep sleeps on after this record came."""
    partition, lanes = Partition(), Turns()
    limits = Limits(gap_timeout=gap_timeout, idle_timeout=60.0)
    owner = Owner(partition, partition.worker(limits, partition.parts(lambda *_: lanes)))
    await owner.until(lambda: owner.worker.running)
    owner.worker.consume([event(0, event="start", channel="chat:1")], 1)
    await asyncio.sleep(2 * IDLE_WAIT)
    turn = lanes.woken
    await owner.until(lambda: lanes.woken > turn)
    owner.worker.consume([record], record.offset + 1)
    turn = lanes.woken
    await asyncio.sleep(SOON)
    asleep = lanes.woken == turn
    await owner.kill()
    return asleep


@in_virtual_time
async def test_tokens_and_answers_alone_do_not_wake_it() -> None:
    assert await slept(event(1, event="token", text="Hello"))


@in_virtual_time
async def test_what_is_to_be_written_wakes_it() -> None:
    assert not await slept(LogRecord(1, b"no JSON"))


@in_virtual_time
async def test_a_timer_due_before_it_would_wake_by_itself_does() -> None:
    assert not await slept(event(5, event="token", text="early"), gap_timeout=0.01)
    assert await slept(event(5, event="token", text="early"))
