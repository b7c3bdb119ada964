"""The lease ends while the machine is suspended, as the group's session does."""

from types import SimpleNamespace
from typing import Any

from processor.clock import Clock
from processor.kafka import GroupMembership

SESSION = 10.0


class Machine:
    def __init__(self) -> None:
        self.running = 100.0
        self.suspended = 0.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.running, since_boot=lambda: self.running + self.suspended)


async def test_a_suspended_machine_holds_no_lease_when_it_wakes() -> None:
    machine = Machine()
    membership = GroupMembership(SESSION, machine.clock())
    coordinator = SimpleNamespace(_do_heartbeat=answered)
    consumer: Any = SimpleNamespace(_coordinator=coordinator)
    membership.observe(consumer)
    await coordinator._do_heartbeat()
    assert membership.holds()
    machine.suspended += SESSION
    assert not membership.holds()
    await coordinator._do_heartbeat()
    assert membership.holds()
    machine.running += SESSION
    assert not membership.holds()


async def answered() -> bool:
    return True


def test_the_clock_since_boot_is_not_behind_the_monotonic_one() -> None:
    clock = Clock()
    before = clock.monotonic()
    assert clock.since_boot() >= before
