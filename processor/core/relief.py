"""What a partition gives up when it is full of what waits for records to come.

Early tokens wait so, and tokens that end in half a pair: reading on could bring what they wait for, but a partition that is paused for
them reads no further. So the oldest gap is given up; where there is none, a response that waits for a half is ended: the log does
not tell that it will not come, so nothing may be published in its place.

A successor reads the same records again, and must give up nothing that its predecessor published. So this is decided at each record, by the log
alone. At any record the successor holds no more than its predecessor did, for it starts from what is durable; and among records that
a predecessor may have read it gives up nothing before the budget of a whole process is full, whatever share of it that one had.
"""

from collections.abc import Collection, Iterable
from heapq import nsmallest

from processor.core.limits import Limits
from processor.core.response import Phase, Response, cost


class Torn:
    """The responses whose newest token ends in half a pair."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: dict[str, Response] = {}

    def note(self, response: Response) -> None:
        self._noted[response.id] = response

    def responses(self) -> list[Response]:
        if self._noted:
            self._noted = {key: each for key, each in self._noted.items() if each.torn is not None}
        return list(self._noted.values())

    def bytes(self) -> int:
        return sum(cost(raw) for each in self.responses() if each.torn is not None for raw in each.torn.raws())

    def oldest(self) -> Response:
        return min(self.responses(), key=lambda each: each.torn.raw.offset if each.torn is not None else 0)


def room(limits: Limits, offset: int, unknown_before: int) -> int:
    """Bytes that may wait for records to come, once the record at `offset` was taken."""
    return limits.whole_low_water if offset < unknown_before else limits.low_water


def oldest_gap(responses: Iterable[Response]) -> Response | None:
    """The response whose first early token stands first in the log."""
    waiting = [response for response in responses if response.early]
    return min(waiting, key=lambda each: next(iter(each.early.values())).raw.offset, default=None)


def beyond_most_open(
    limits: Limits, responses: Collection[Response], offset: int, unknown_before: int
) -> list[Response]:
    """The responses to end once the record at `offset` was taken: more are open than may be.

    A share of all at once, so that each need not be looked for among all; the ones of which nothing was read for longest, and of what a
    predecessor may have published those of which nothing is unknown.
    """
    unknown = offset < unknown_before
    most = limits.whole_open if unknown else limits.open_responses
    if len(responses) <= most:
        return []
    waiting = [
        each
        for each in responses
        if each.phase in {Phase.OPEN, Phase.AWAITING_START}
        and not (unknown and (not each.asked_history or each.history is not None))
    ]
    return nsmallest(1 + most // 64, waiting, key=lambda each: max(each.last_offset, each.acked_offset))
