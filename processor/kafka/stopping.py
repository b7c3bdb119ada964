"""Stopping an aiokafka client of which a task may have failed, or to which no broker answers.

The library's internals that are used: its client, the client's task that learns of leaders and its wait for them, and
a producer's sender and records.
"""

import asyncio
import contextlib
import itertools
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from processor.kafka.options import STOP_DEADLINE
from topics.client_tasks import look_at, stop_consumer

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 0.05


async def stop_quietly(consumer: Any) -> None:
    """Stops a consumer, and closes its connections even if one of its tasks has failed. Takes seconds at most."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(STOP_DEADLINE):
            try:
                await stop_consumer(consumer)
            except Exception:  # noqa: BLE001 - the error of a task: the library raises it before it closes its client
                await _close(consumer._client)  # noqa: SLF001


async def _close(client: Any) -> None:
    task = client._sync_task  # noqa: SLF001
    if task is not None and task.done():
        client._sync_task = None  # noqa: SLF001 - else its error would be raised again
        if not task.cancelled():
            task.exception()
    await client.close()


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stops a producer, and closes its connections even if no broker answers: what it still held is then not sent.

    Takes seconds at most. Never raises.
    """
    stopped = False
    try:
        async with asyncio.timeout(STOP_DEADLINE):
            await producer.stop()
        stopped = True
    except Exception as error:  # noqa: BLE001 - it is discarded in any case
        log.debug("producer_stop_failed", error=type(error).__name__)
    finally:
        if not stopped:
            with contextlib.suppress(Exception):
                await _cut(producer)


async def _cut(producer: AIOKafkaProducer) -> None:
    """Ends what a `stop` leaves that was cut short: connections, and tasks that would wait for answers over them."""
    sender = producer._sender.sender_task  # noqa: SLF001 - see the package's docstring
    if sender is not None:
        sender.cancel()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(STOP_DEADLINE):
            await producer.client.close()
            while sender is not None and not sender.done():
                _end_wait_for_metadata(producer.client)
                await asyncio.wait([sender], timeout=LOOK_SECONDS)
    _fail_held(producer._message_accumulator)  # noqa: SLF001


def _fail_held(held: Any) -> None:
    """Fails the batches that a producer holds, so that its `stop` returns and asyncio logs no error of theirs.

    A batch that fails is removed from the pending ones, also where it waits to be tried again and is not among them.
    """
    held._pending_batches.update(itertools.chain(*held._batches.values()))  # noqa: SLF001
    for batch in held._pending_batches:  # noqa: SLF001
        batch._drain_waiter.add_done_callback(look_at)  # noqa: SLF001 - nobody waits for room in it
    held.fail_all(KafkaConnectionError("the producer was stopped"))


def _end_wait_for_metadata(client: Any) -> None:
    """A request that failed waits for new metadata before it is tried again, and a closed client asks for none."""
    update = client._md_update_fut  # noqa: SLF001
    if update is not None and not update.done():
        update.set_result(False)
