"""What the relay needs of a realtime service. `tests/contract/test_realtime.py` tests every adapter against it.

An adapter supplies a `Provider`: the service's limits, links to publish over, and the histories of channels.
`processor.relay.pool` builds from it the `Realtime` that lanes publish with: channels pinned to links, at their rate.

The relay relies on these guarantees of a service:
- Messages of one channel sent over one link, each after the answer to the previous one, keep their order.
- A message whose id the service accepted less than `duplicate_window` seconds ago is acknowledged and not published
  again.
- An acknowledged message is published.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from processor.core.framer import Frame
from processor.core.response import Published


class LinkState(StrEnum):
    """The state of a link, as the metrics name it."""

    INITIALIZED = "initialized"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeProfile:
    """The numbers of a service, for one process. Relays of one group use the same `max_frame_bytes`: frames are cut by it."""

    max_frame_bytes: int
    """The largest message: id, name, headers and data, with the data as JSON text."""
    duplicate_window: float
    """Seconds for which the service recognizes a repeated id, from when it accepted it. 0 where it does not."""
    ack_deadline: float
    """Seconds the first send of a frame waits for its answer; each retry waits twice as long, up to `max_ack_deadline`."""
    max_ack_deadline: float
    channels_per_link: int
    """Active channels a link carries before another link is opened."""
    refusal_codes: frozenset[int] = frozenset()
    """Codes of refusals that are counted separately; others are counted together."""


class RatePace(Protocol):
    """The pace of a link. Times are monotonic seconds. Nothing raises; nothing waits. See `processor.core.pacing.Pace`."""

    def delay(self, now: float, *, urgent: bool = False) -> float:
        """Returns the seconds until a message may go, 0 when it may go now. `urgent` messages may borrow from later ones."""
        ...

    def spend(self, now: float) -> None:
        """Counts one message. Called immediately before its `Link.publish`."""
        ...

    def slow_down(self, now: float) -> None:
        """Lowers the pace. Called for a refusal with kind SLOW_LINK or SLOW_ALL."""
        ...

    def share(self, now: float) -> float:
        """Returns the current rate as a share of the full one, from 0 to 1. Changes nothing. For the metrics."""
        ...


class Link(Protocol):
    """One way to the service. Reconnects by itself while `run` runs. Used by one pool, in one event loop."""

    @property
    def state(self) -> LinkState:
        """Each change of it is announced by the `changed` that the link was made with."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why the service does not take the credentials, as a sentence; None while it does, or was not asked."""
        ...

    @property
    def pace(self) -> RatePace:
        """The same object for the life of the link."""
        ...

    async def run(self) -> None:
        """Keeps the link connected until cancelled, and then discards what it opened. The pool calls it once.

        Raises nothing but CancelledError: an outage, a refusal or an unreadable answer of the service never ends it.
        """
        ...

    async def connected(self) -> None:
        """Returns when a message may be sent. Waits without bound; may be cancelled."""
        ...

    async def publish(self, frame: Frame, deadline: float) -> None:
        """Sends the frame once. Returns when it is acknowledged and the acknowledgement can be believed.

        Called by any number of tasks at once, at most one for a channel. Sends within the call's turn of the event
        loop or the next one, or not at all: a lease was checked before. Answers at most about a second after
        `deadline` seconds, whatever happens.

        Raises PublishRetry (the frame was refused for now, or it is not known whether it was published) or
        PublishRefused (it was not published and will not be).
        """
        ...

    def recheck_credentials(self) -> None:
        """Connects again if the credentials have changed since the link connected. Called after a refusal for CREDENTIALS."""
        ...


class History(Protocol):
    """What a channel's history shows of frames that this publisher sent."""

    @property
    def published(self) -> Mapping[str, Published]:
        """By responseId."""
        ...

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the frames."""
        ...


class HistorySource(Protocol):
    async def read(self, channel: str, within: float) -> History:
        """Returns what the newest messages of the channel show, as many as can be read in `within` seconds.

        Called by any number of tasks at once; may wait a few seconds for its turn. A service may lag behind or keep
        little: what is missing from a history is published again, and readers drop it by the offset rule. Raises
        PublishRetry when nothing can be read now.
        """
        ...

    async def close(self) -> None:
        """Closes what `read` opened. Called once, after the last `read`. Never raises."""
        ...


LinkFactory = Callable[[Callable[[], None]], Link]
"""`changed` -> a new link, which connects when it is run. The link calls `changed` after each change of `state`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A realtime service, as its adapter supplies it. The composition root chooses one."""

    profile: RealtimeProfile
    new_link: LinkFactory
    histories: HistorySource


class Slot(Protocol):
    """A channel's place on one link. Shared by all lanes of that channel in this process; held while one sends.

    `async with slot:` waits for the turn; at most one holder publishes at a time.
    """

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...

    def delay(self, *, urgent: bool) -> float:
        """Returns the seconds until the pace of channel and link allows a message; 0 when it may go now."""
        ...

    async def connected(self) -> None:
        """Waits until the link is up and its credentials are good. Waits without bound."""
        ...

    async def publish(self, frame: Frame, attempt: int) -> None:
        """Publishes once; `attempt` counts from 0 and sets the deadline. Otherwise as `Link.publish`. Bounded in time."""
        ...


class Realtime(Protocol):
    """The realtime service, as lanes use it."""

    def slot(self, channel: str) -> Slot:
        """Returns the channel's place. The caller gives it back with `release` when it has nothing more to send."""
        ...

    def release(self, channel: str) -> None: ...

    async def history(self, channel: str, within: float) -> History:
        """As `HistorySource.read`."""
        ...
