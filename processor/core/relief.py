"""What a partition gives up when it is full of what waits for records to come.

Early tokens wait so, and tokens that end in half a pair: reading on could bring what they wait for, but a partition that is paused for
them reads no further. So the oldest gap is given up; without a gap, a response that waits for a half is ended: the log does
not tell that it will not come, so nothing may be published in its place.

A successor reads the same records again, and must give up no number that a predecessor published, although that one may have had other
fetches and another share of memory. Every owner keeps two rules for this, and needs no answer of a channel's history:

1. It reads no record, not even the next one of the same fetch, while more than the budget of a whole process is undetermined. A record is
   undetermined where a successor could not learn from what is durable what became of it: it came after its response's start, and is
   early, or ends in half a pair, or is queued behind a decision that is not durable, or is a dead letter that is not written.
2. Among records that a predecessor may have read, it gives up nothing before more than that budget is early or ends in half a pair.

What waits so in a successor was undetermined in each predecessor that had read as far. Where more than the budget does, each predecessor
had stopped by rule 1: all that was published stands in what the successor has read, and no missing number is among it. From there on the
partition has its own share, as if no predecessor had ended uncleanly. Owners need the same budget of a process for this.

Records that came before their start count in neither rule, since a predecessor may have given them up as never started. They are given up
record by record, the oldest first, and not where a fetch ends. What is held of them is then decided by what came after it: a successor, which
has half the budget of a process for them, keeps what its predecessor kept. Once their start has come, they may take as much again as rule 2
allows the others.

A partition is also paused where too much has ended since its committed offset. Then what holds that offset back is given up, where that waits
for records.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from heapq import nsmallest

from processor.core.limits import START_LESS_COST, Limits
from processor.core.outflow import Outflow
from processor.core.response import Phase, Raw, Response, cost


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


class Orphans:
    """Records of responses whose start has not come, in the order of the log."""

    __slots__ = ("_by_response", "_held", "bytes", "response_bytes")

    def __init__(self) -> None:
        self._held: OrderedDict[int, tuple[Response, int]] = OrderedDict()
        self._by_response: Counter[str] = Counter()
        self.bytes = 0
        """Cost of the responses and their records."""
        self.response_bytes = 0
        """Of that, of the responses."""

    def __len__(self) -> int:
        """How many responses."""
        return len(self._by_response)

    def add(self, response: Response, seq: int, raw: Raw) -> None:
        self._held[raw.offset] = response, seq
        self._by_response[response.id] += 1
        self.bytes += cost(raw)
        self._count_responses()

    def remove(self, raw: Raw) -> None:
        """Does nothing where it is not held."""
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
        """The response and the number of the record."""
        return next(iter(self._held.values()))


class Relief:
    """What is to be given up next."""

    __slots__ = ("_limits", "_open", "_outflow", "most_open", "orphans", "torn")

    def __init__(self, limits: Limits, open_responses: Mapping[str, Response], outflow: Outflow) -> None:
        self._limits = limits
        self._open = open_responses
        self._outflow = outflow
        self.most_open = limits.open_responses
        self.orphans = Orphans()
        self.torn = Torn()

    def waits_beyond_predecessors(self, waiting_bytes: int) -> bool:
        """Whether no predecessor can have read as far, since more waits than any reads on with.

        `waiting_bytes` are those of all responses that have started.
        """
        most = self._limits.whole_buffered
        return waiting_bytes > 2 * most or (waiting_bytes > most and self._since_start_bytes() > most)

    def overfull(self, waiting_bytes: int, other_bytes: int) -> bool:
        """Whether no record may be read. `other_bytes` are those of what is undetermined and waits for no record."""
        most = self._limits.whole_buffered
        return waiting_bytes + other_bytes > most and self._since_start_bytes() + other_bytes > most

    def _since_start_bytes(self) -> int:
        """Of what came after the start of its response, and waits for records."""
        return sum(cost(raw) for each in self._open.values() for raw in each.waits_since_start())

    def orphan(self, *, reread: bool) -> tuple[Response, int] | None:
        """The record whose start is not waited for any longer. `reread`: a predecessor may have read what is read."""
        room = self._limits.whole_low_water if reread else self._limits.low_water
        return self.orphans.oldest() if self.orphans.bytes > room else None

    def response(self, early_bytes: int) -> Response | None:
        """The response whose gap is given up; where it holds nothing early, one to be ended. `early_bytes` is of all.

        Where more than half of it waits for starts, no gap of a response that has started is given up for that.
        """
        room = self._limits.low_water
        if early_bytes + self._outflow.queued_bytes <= room or early_bytes + self.torn.bytes() <= room:
            return None
        if 2 * self.orphans.bytes > early_bytes:
            return self.orphans.oldest()[0]
        if (response := _oldest_gap(self._open.values())) is not None:
            return response
        return self.orphans.oldest()[0] if self.orphans.bytes else _oldest_torn(self._open.values())

    def too_many(self, *, unknown: bool) -> list[Response]:
        """The responses to end: those beyond `most_open`, where more are live by a 64th, so that few need be looked for among all.

        The ones of which nothing was read for longest. What waits for its start, and ends that wait to be acknowledged, have bounds of their
        own in bytes; what a predecessor decided ends where it decided that. Among records that a predecessor may have read, as many may be
        live as it could not have had, so that it had read less when all its responses were.
        """
        bound = 2 * self._limits.open_responses if unknown else self.most_open
        if len(self._open) - len(self.orphans) <= bound + bound // 64:
            return []
        live = [each for each in self._open.values() if each.live]
        if len(live) <= bound + bound // 64:
            return []
        endable = [each for each in live if each.nothing_unknown] if unknown else live
        return nsmallest(len(live) - bound, endable, key=lambda each: max(each.last_offset, each.acked_offset))

    def pinning(self, committed_offset: int) -> Response | None:
        """The response that holds the committed offset back, where it does so because it waits for records."""
        for each in self._open.values():
            first = each.runs.first_uncovered(each.covered_mark)
            if first is not None and first <= committed_offset and each.waits_for_records:
                return each
        return None


def _oldest_gap(responses: Iterable[Response]) -> Response | None:
    """The response whose first early token stands first in the log."""
    waiting = [each for each in responses if each.early and each.phase is not Phase.AWAITING_START]
    return min(waiting, key=lambda each: next(iter(each.early.values())).raw.offset, default=None)


def _oldest_torn(responses: Iterable[Response]) -> Response | None:
    torn = [(each.torn.raw.offset, each) for each in responses if each.torn is not None]
    return min(torn, key=lambda each: each[0])[1] if torn else None
