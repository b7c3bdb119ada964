"""The lane of a channel: at most one frame in flight, its responses taking turns.

While a frame is unacknowledged, arriving tokens pile up in their responses and leave together in the next one. That is
the roll-up: order and no holes by construction, larger frames instead of losses when the channel is slow.
"""

from collections.abc import Mapping

from processor.core.framer import Built
from processor.core.response import Published, Response


class Lane:
    __slots__ = ("asking", "channel", "findings", "in_flight", "members", "ready")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.ready: list[Response] = []
        """Responses with something to send, in turn. Each stands here at most once; a list, since most lanes have one member."""
        self.in_flight: Built | None = None
        self.asking: list[Response] = []
        """Responses that wait for the history with nothing to send."""
        self.members = 0
        """Open responses of this channel."""
        self.findings: Mapping[str, Published] | None = None
        """What the channel's history told, after a takeover; None until asked."""

    def enqueue(self, response: Response) -> bool:
        """Let a response wait for its turn. True when the lane was idle before."""
        if response.waiting_in_lane or response.in_flight or not response.sendable:
            return False
        idle = not self.ready and self.in_flight is None
        response.wait_in_lane()
        self.ready.append(response)
        return idle

    def next_response(self) -> Response | None:
        while self.ready:
            response = self.ready.pop(0)
            response.leave_lane()
            if response.sendable:
                return response
        return None

    def __repr__(self) -> str:
        return f"<Lane {self.channel!r} ready={len(self.ready)} in_flight={self.in_flight is not None}>"
