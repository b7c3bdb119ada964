"""What the group assigns to a member that is leaving is not taken: its workers would outlive it."""

import asyncio
from dataclasses import replace
from typing import Any

from processor.core.limits import Limits
from processor.relay.relay import Relay, RelayOptions
from support.around import Around
from support.partition_owners import Partition
from support.virtual_time import in_virtual_time
from support.waiting import until

SLOW = 5.0


class LateGroup(Around):
    """A consumer whose group assigns a partition while it is being stopped."""

    patience = 10.0
    relay: Relay
    stopped = False

    async def stop(self) -> None:
        await self.relay.on_partitions_assigned([0])
        self.stopped = True

    def pause(self, *_numbers: int) -> None:
        pass


def relay_of(partition: Partition, tasks: asyncio.TaskGroup) -> tuple[Relay, LateGroup]:
    group: Any = LateGroup(partition)
    options = RelayOptions(
        credentials=lambda: None,
        check_credentials=lambda: None,
        limits=Limits(),
        drain_timeout=2 * SLOW,
    )
    group.relay = Relay(options, replace(partition.parts(), consumer=group), tasks)
    return group.relay, group


@in_virtual_time
async def test_a_stop_waits_for_a_rebalance_that_still_drains() -> None:
    partition = Partition()
    async with asyncio.TaskGroup() as tasks:
        relay, group = relay_of(partition, tasks)
        await relay.on_partitions_assigned([0])
        await until(lambda: all(worker.running for worker in relay.workers), within=5)
        partition.takes = lambda _: SLOW
        revoked = tasks.create_task(relay.on_partitions_revoked([0]))
        await asyncio.sleep(0)
        stopping = tasks.create_task(relay.stop())
        await asyncio.sleep(SLOW / 2)
        assert not group.stopped, "the client, and its place in the group, are needed for the last commit"
        await asyncio.wait([revoked, stopping])
    assert (partition.metadata.clean, group.stopped) == (True, True)


@in_virtual_time
async def test_an_assignment_that_comes_while_leaving_is_not_taken() -> None:
    async with asyncio.TaskGroup() as tasks:
        relay, group = relay_of(Partition(), tasks)
        await relay.stop()
    assert group.stopped
    assert list(relay.workers) == []
