"""Membership of the consumer group, and the lease that follows from it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer

from processor.clock import Clock
from topics.client_tasks import refreshes_metadata


class GroupMembership:
    """When the group last confirmed this member, by answered heartbeats.

    The lease: the group gives this member's partitions to others no sooner than a session timeout after the
    coordinator received its last heartbeat, and that was not before it was sent. So until `sent + session timeout -
    margin` no other member owns them.
    """

    def __init__(self, session_timeout: float, clock: Clock) -> None:
        self._clock = clock
        self._lease = session_timeout - min(1.0, session_timeout / 5)
        self._sent = float("-inf")
        self._sent_since_boot = float("-inf")
        """The same moment by the clock that goes on while the machine is suspended, as the group's does."""
        self._observed = clock.monotonic()
        self._beat = asyncio.Event()
        self._consumer: Any = None
        self._coordinator: Any = None

    def observe(self, consumer: AIOKafkaConsumer) -> None:
        """Watch the consumer's heartbeats from now on. To be called once it has started."""
        coordinator = consumer._coordinator  # noqa: SLF001 - see the package's docstring
        heartbeat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat  # noqa: SLF001

        async def observed() -> bool:
            sent, since_boot = self._clock.monotonic(), self._clock.since_boot()
            answered = await heartbeat()
            if answered:
                self._sent, self._sent_since_boot = sent, since_boot
                self._beat.set()
            return answered

        coordinator._do_heartbeat = observed  # noqa: SLF001
        self._observed = self._clock.monotonic()
        self._consumer = consumer
        self._coordinator = coordinator

    def holds(self) -> bool:
        """Whether the lease is good now."""
        return self._clock.since_boot() < self._sent_since_boot + self._lease

    async def heartbeat_after(self, moment: float) -> None:
        """Waits for an answered heartbeat that was sent after `moment`. May wait without end."""
        while self._sent <= moment:
            self._beat.clear()
            await self._beat.wait()

    def silence(self) -> float:
        """Seconds since the last answered heartbeat was sent, or since there is a consumer."""
        return self._clock.monotonic() - max(self._sent, self._observed)

    @property
    def ended(self) -> bool:
        """Whether a task of the client died: that for the group, as it does where no broker is known, or that for metadata."""
        task = getattr(self._coordinator, "_coordination_task", None)
        return (task is not None and task.done()) or not refreshes_metadata(self._consumer)

    def rejoin(self) -> None:
        """Ask the group for a new assignment at once."""
        if self._coordinator is not None:
            self._coordinator.request_rejoin()
