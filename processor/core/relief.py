"""Decides what a full partition gives up of the records that wait for other records.

Early tokens wait, and tokens that end in an unpaired surrogate: further reading could bring what they wait for, but a
partition that is paused because of them reads no further. Therefore the oldest gap is given up.
Without a gap, a response that waits for the second half of a pair is ended. The log does not determine that the half
never arrives, so nothing may be published in its place.

A successor reads the same records again. It must give up no number that a predecessor published, although that
predecessor may have had other fetches and another share of memory. Every owner keeps two rules for this, which need no
answer of a channel's history:

1. It reads no record, not even the next one of the same fetch, while more than the budget of a whole process is
   undetermined. A record is undetermined if a successor could not learn its fate from what is durable: it came after
   the start of its response and is early, or ends in an unpaired surrogate, or is queued behind a decision that is
   not durable, or is a dead letter that is not written.
2. Among records that a predecessor may have read, it gives up nothing before more than that budget is early or ends
   in an unpaired surrogate.

The records that wait in a successor were undetermined in each predecessor that had read as far. If they exceed the
budget, rule 1 had stopped each predecessor: the successor has read everything that was published, and no missing
number is among it. From there on the partition has its own share, as if no predecessor had ended uncleanly.
Owners need the same budget of a process for this.

Records that came before their start count in neither rule, since a predecessor may have given them up as never
started. They are given up one by one, the oldest first, and not at the end of a fetch. The later records then
determine what is held. A successor has half the budget of a process for them, so it keeps what its predecessor kept.
Once their start arrives, they may take as much again as rule 2 allows the others.

A partition is also paused when too many responses have ended since its committed offset. Then whatever holds that
offset back is given up, if it waits for records.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from heapq import nsmallest

from processor.core.limits import START_LESS_COST, Limits
from processor.core.outflow import Outflow
from processor.core.response import Phase, Raw, Response, cost


class UnpairedTails:
    """The responses whose newest token ends in an unpaired surrogate."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: dict[str, Response] = {}

    def note(self, response: Response) -> None:
        self._noted[response.id] = response

    def responses(self) -> list[Response]:
        if self._noted:
            self._noted = {key: each for key, each in self._noted.items() if each.unpaired is not None}
        return list(self._noted.values())

    def bytes(self) -> int:
        return sum(cost(raw) for each in self.responses() if each.unpaired is not None for raw in each.unpaired.raws())


class StartlessRecords:
    """Records of responses whose start has not arrived, in the order of the log."""

    __slots__ = ("_by_response", "_held", "bytes", "response_bytes")

    def __init__(self) -> None:
        self._held: OrderedDict[int, tuple[Response, int]] = OrderedDict()
        self._by_response: Counter[str] = Counter()
        self.bytes = 0
        """The cost of the responses and their records."""
        self.response_bytes = 0
        """The cost of the responses alone."""

    def __len__(self) -> int:
        """Returns the number of responses."""
        return len(self._by_response)

    def add(self, response: Response, seq: int, raw: Raw) -> None:
        self._held[raw.offset] = response, seq
        self._by_response[response.id] += 1
        self.bytes += cost(raw)
        self._count_responses()

    def remove(self, raw: Raw) -> None:
        """Removes a record. Does nothing if it is not held."""
        if (held := self._held.pop(raw.offset, None)) is None:
            return
        self.bytes -= cost(raw)
        response_id = held[0].id
        self._by_response[response_id] -= 1
        if not self._by_response[response_id]:
            del self._by_response[response_id]
            self._count_responses()

    def _count_responses(self) -> None:
        before, self.response_bytes = self.response_bytes, START_LESS_COST * len(self._by_response)
        self.bytes += self.response_bytes - before

    def oldest(self) -> tuple[Response, int]:
        """Returns the response and the number of the oldest record."""
        return next(iter(self._held.values()))


class Relief:
    """Selects what is given up next."""

    __slots__ = ("_limits", "_open", "_outflow", "most_open", "startless", "unpaired")

    def __init__(self, limits: Limits, open_responses: Mapping[str, Response], outflow: Outflow) -> None:
        self._limits = limits
        self._open = open_responses
        self._outflow = outflow
        self.most_open = limits.open_responses
        self.startless = StartlessRecords()
        self.unpaired = UnpairedTails()

    def waits_beyond_predecessors(self, waiting_bytes: int) -> bool:
        """Whether more waits than any predecessor reads on with, so that none can have read as far.

        `waiting_bytes` are those of all responses that have started.
        """
        most = self._limits.whole_buffered
        return waiting_bytes > 2 * most or (waiting_bytes > most and self._since_start_bytes() > most)

    def overfull(self, waiting_bytes: int, other_bytes: int) -> bool:
        """Whether no record may be read. `other_bytes` is the size of what is undetermined without waiting for records."""
        most = self._limits.whole_buffered
        return waiting_bytes + other_bytes > most and self._since_start_bytes() + other_bytes > most

    def _since_start_bytes(self) -> int:
        """Returns the size of the records that came after the start of their response and wait for others."""
        return sum(cost(raw) for each in self._open.values() for raw in each.waits_since_start())

    def startless_record(self, *, reread: bool) -> tuple[Response, int] | None:
        """Returns the record whose start is no longer awaited. `reread`: a predecessor may have read what is read."""
        room = self._limits.whole_low_water if reread else self._limits.low_water
        return self.startless.oldest() if self.startless.bytes > room else None

    def response(self, early_bytes: int) -> Response | None:
        """Returns the response whose gap is given up. If it has no early record, it is to be ended.

        `early_bytes` is of all responses.

        If more than half of the bytes wait for starts, no gap of a started response is given up for them.
        """
        room = self._limits.low_water
        if early_bytes + self._outflow.queued_bytes <= room or early_bytes + self.unpaired.bytes() <= room:
            return None
        if 2 * self.startless.bytes > early_bytes:
            return self.startless.oldest()[0]
        if (response := _oldest_gap(self._open.values())) is not None:
            return response
        return self.startless.oldest()[0] if self.startless.bytes else _oldest_unpaired(self._open.values())

    def too_many(self, *, unknown: bool) -> list[Response]:
        """Returns the live responses beyond `most_open` to end, the longest unread first.

        Acts only if a 64th more are live, so that the search is rare.
        Records that wait for a start, and ends that wait for an acknowledgement, have bounds in bytes instead.
        A predecessor's decision ends a response where the predecessor decided it.
        Among records that a predecessor may have read, as many responses may be live as it could not have had.
        So it had read less when all its responses were live.
        """
        bound = 2 * self._limits.open_responses if unknown else self.most_open
        if len(self._open) - len(self.startless) <= bound + bound // 64:
            return []
        live = [each for each in self._open.values() if each.live]
        if len(live) <= bound + bound // 64:
            return []
        endable = [each for each in live if each.nothing_unknown] if unknown else live
        return nsmallest(len(live) - bound, endable, key=lambda each: max(each.last_offset, each.acked_offset))

    def pinning(self, committed_offset: int) -> Response | None:
        """Returns the response that holds the committed offset back because it waits for records, or None."""
        for each in self._open.values():
            first = each.runs.first_uncovered(each.covered_mark)
            if first is not None and first <= committed_offset and each.waits_for_records:
                return each
        return None


def _oldest_gap(responses: Iterable[Response]) -> Response | None:
    """Returns the response whose first early token is the first in the log."""
    waiting = [each for each in responses if each.early and each.phase is not Phase.AWAITING_START]
    return min(waiting, key=lambda each: next(iter(each.early.values())).raw.offset, default=None)


def _oldest_unpaired(responses: Iterable[Response]) -> Response | None:
    unpaired = [(each.unpaired.raw.offset, each) for each in responses if each.unpaired is not None]
    return min(unpaired, key=lambda each: each[0])[1] if unpaired else None
