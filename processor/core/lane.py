"""The lane of a channel: at most one frame in flight; its responses take turns.

Tokens that arrive while a frame is unacknowledged accumulate in their responses and leave together in the next frame.
This roll-up gives order without gaps by construction, and larger frames instead of losses when the channel is slow.
"""

from collections.abc import Mapping, Sequence

from processor.core.framer import Built
from processor.core.response import Published, Response


class Lane:
    __slots__ = ("asking", "channel", "findings", "in_flight", "ready")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.ready: list[Response] = []
        """Responses with something to send, in turn. Each occurs at most once; a list, since most lanes have one
        response.
        """
        self.in_flight: Built | None = None
        self.asking: Sequence[Response] = ()
        """Responses that wait for the history with nothing to send."""
        self.findings: Mapping[str, Published] | None = None
        """The published frames found in the channel's history after a takeover; None until it was asked."""

    def enqueue(self, response: Response) -> bool:
        """Queues a response that wants a turn. Returns True if the lane was idle before."""
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
