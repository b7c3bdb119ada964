"""The outside world, as the relay's shells need it. A fake of each stands in the simulation; the real ones beside Kafka and Ably."""

from collections.abc import Mapping
from typing import Protocol

from processor.core.framer import Frame
from processor.core.response import Published


class Slot(Protocol):
    """A channel's place on one connection. Shared by all lanes of that channel in this process; held while one sends.

    `async with slot:` waits for the turn; at most one holder publishes at a time.
    """

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...

    def delay(self, *, urgent: bool) -> float:
        """Seconds until the pace of channel and connection allows a message; 0 when it may go now."""
        ...

    async def connected(self) -> None:
        """Wait until the connection is up and its credentials are good. May wait for ever."""
        ...

    async def publish(self, frame: Frame, attempt: int) -> None:
        """Publish once; `attempt` counts from 0. Returns when the frame is acknowledged, and the acknowledgement can be believed.

        Raises PublishRetry (undetermined or refused for now: send the same frame again), FrameTooLarge (nothing was
        delivered) or ChannelRefused (nothing was delivered, and it is for good). Bounded in time.
        """
        ...


class Realtime(Protocol):
    """The realtime service."""

    def slot(self, channel: str) -> Slot:
        """The channel's place. The caller gives it back with `release` when it has nothing more to send."""
        ...

    def release(self, channel: str) -> None: ...

    async def history(self, channel: str, within: float) -> "History":
        """The channel's newest messages that this publisher sent: as many as come `within` so many seconds.

        Raises PublishRetry when none can be had now.
        """
        ...


class History(Protocol):
    @property
    def published(self) -> Mapping[str, Published]:
        """By responseId."""
        ...

    @property
    def ids(self) -> frozenset[str]: ...
