"""The group's coordinator: members, generations, eager rebalances and session timeouts, as Kafka's classic protocol has them."""

import asyncio
from dataclasses import dataclass, field
from random import Random

from simulation.loop import VirtualLoop

SESSION_TIMEOUT = 5.0
REBALANCE_TIMEOUT = 6.0


@dataclass(eq=False)
class Member:
    name: str
    seen: float
    joining: asyncio.Future[tuple[int, tuple[int, ...]]] | None = None
    partitions: tuple[int, ...] = ()


@dataclass
class Group:
    loop: VirtualLoop
    random: Random
    partitions: int
    session_timeout: float
    rebalance_timeout: float
    generation: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    suspended: bool = False
    """The coordinator is away with its broker: it counts no time."""
    deadline: float | None = None
    """When the rebalance under way goes on without those who have not joined; None while stable."""
    rebalances: int = 0
    _names: int = 0

    @property
    def rebalancing(self) -> bool:
        return self.deadline is not None

    def join(self, member_id: str | None) -> tuple[str, asyncio.Future[tuple[int, tuple[int, ...]]]]:
        """Join or join again. The future gives (generation, partitions) once all have."""
        if member_id is None or member_id not in self.members:
            self._names += 1
            member_id = f"m{self._names}"
            self.members[member_id] = Member(member_id, self.loop.now)
        member = self.members[member_id]
        member.seen = self.loop.now
        if member.joining is None or member.joining.done():
            member.joining = self.loop.create_future()
        self.rebalance()
        self._finish_if_all_joined()
        return member_id, member.joining

    def leave(self, member_id: str) -> None:
        if self.members.pop(member_id, None) is not None and self.members:
            self.rebalance()
            self._finish_if_all_joined()

    def heartbeat(self, member_id: str, generation: int) -> str:
        member = self.members.get(member_id)
        if member is None:
            return "unknown"
        if generation != self.generation:
            return "illegal"
        member.seen = self.loop.now
        return "rebalancing" if self.rebalancing else "ok"

    def rebalance(self) -> None:
        if not self.rebalancing:
            self.rebalances += 1
            self.deadline = self.loop.now + self.rebalance_timeout
            self.loop.outside(self.rebalance_timeout, self._late, self.rebalances)

    def expire(self) -> None:
        """To be called often: members not heard of for a session timeout are out."""
        if self.suspended:
            return
        limit = self.loop.now - self.session_timeout
        gone = [each.name for each in self.members.values() if each.seen < limit and not _waits(each)]
        for name in gone:
            self.leave(name)

    def suspend(self) -> None:
        self.suspended = True

    def resume(self) -> None:
        """Another broker takes over as coordinator: it gives every member a session timeout from now on."""
        self.suspended = False
        for member in self.members.values():
            member.seen = self.loop.now

    def _late(self, number: int) -> None:
        if self.suspended:
            self.loop.outside(self.rebalance_timeout, self._late, number)
        elif self.rebalancing and number == self.rebalances:
            self.members = {name: each for name, each in self.members.items() if _waits(each)}
            self._finish_if_all_joined()

    def _finish_if_all_joined(self) -> None:
        if not self.members:
            self.deadline = None
            return
        if not all(_waits(each) for each in self.members.values()):
            return
        self.generation += 1
        self.deadline = None
        self._assign()
        for member in self.members.values():
            member.seen = self.loop.now
            assert member.joining is not None
            member.joining.set_result((self.generation, member.partitions))

    def _assign(self) -> None:
        """Sticky, most of the time."""
        names = sorted(self.members)
        owners = {number: each.name for each in self.members.values() for number in each.partitions}
        share = -(-self.partitions // len(names))
        given: dict[str, list[int]] = {name: [] for name in names}
        numbers = list(range(self.partitions))
        if self.random.random() < 0.3:
            self.random.shuffle(numbers)
            owners = {}
        for number in numbers:
            owner = owners.get(number)
            if owner is None or len(given[owner]) >= share:
                owner = min(names, key=lambda name: (len(given[name]), name))
            given[owner].append(number)
        for name in names:
            self.members[name].partitions = tuple(sorted(given[name]))


def _waits(member: Member) -> bool:
    return member.joining is not None and not member.joining.done()
