"""The lanes of a partition: decides which channel may send what, and applies answers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, assert_never

import msgspec

from processor.core.framer import Built, Frame, build, piece_acknowledged, put_back, shrink
from processor.core.lane import Lane
from processor.core.limits import RESPONSE_COST
from processor.core.response import Gap, Item, Phase, Published, Raw, Response, Run, Start, Stop, Token, cost
from processor.core.text import utf16_length
from topics.records import Reason, ResponseRecord


class DeadLetters(Protocol):
    def dead_letter(self, raw: Raw, reason: Reason, detail: str = "") -> None: ...


class AskHistory(msgspec.Struct, frozen=True):
    """Asks for the channel's history, which must be known before the channel's next frame."""

    channel: str


class Outflow:
    __slots__ = (
        "_changed",
        "_dead_letters",
        "_finished",
        "_frame_bytes",
        "_lanes",
        "_members",
        "_woken",
        "in_flight",
        "queued_bytes",
        "transcript_bytes",
    )

    def __init__(
        self, dead_letters: DeadLetters, finished: Callable[[Response, float], None], frame_bytes: int
    ) -> None:
        self._lanes: dict[str, Lane] = {}
        """The lanes that have something to send, or something in flight, or that know what is published."""
        self._members: dict[str, int] = {}
        """The number of open responses of each channel."""
        self._woken: list[str] = []
        self._changed: list[Response] = []
        self._dead_letters = dead_letters
        self._finished = finished
        self._frame_bytes = frame_bytes
        self.queued_bytes = 0
        """The cost of all tokens that are accepted and not acknowledged."""
        self.transcript_bytes = 0
        """The characters of acknowledged text of open responses in memory."""
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<Outflow lanes={len(self._lanes)} in_flight={self.in_flight} queued={self.queued_bytes}>"

    def adopt(self, response: Response) -> None:
        """Adds an open response to its channel's lane."""
        self._members[response.channel] = self._members.get(response.channel, 0) + 1
        self.transcript_bytes += sum(part.held for part in response.parts)
        self.enqueue(response)

    def enqueue(self, response: Response) -> None:
        if response.wants_turn and self._lane(response.channel).enqueue(response):
            self._woken.append(response.channel)

    def evict(self, response: Response) -> int:
        """Evicts the acknowledged text from memory. Returns the number of characters freed."""
        freed = sum(part.evict() for part in response.parts)
        self.transcript_bytes -= freed
        return freed

    def read_back(self, response: Response, record: ResponseRecord) -> None:
        texts = {part.part: part.text for part in record.parts}
        for part in response.parts:
            if part.evicted:
                added = part.read_back(texts.get(part.name, ""))
                self.transcript_bytes += added if response.phase is not Phase.FINISHED else 0

    def frames_in_flight(self) -> list[Frame]:
        return [lane.in_flight.frame for lane in self._lanes.values() if lane.in_flight is not None]

    def take_woken(self) -> list[str]:
        woken, self._woken = self._woken, []
        return woken

    def take_changed(self) -> list[Response]:
        """Returns the responses with acknowledged changes since the last call."""
        changed, self._changed = self._changed, []
        return changed

    def note_changed(self, response: Response) -> None:
        """Requests a record of the response within the snapshot interval, although none of its frames was acknowledged."""
        self._changed.append(response)

    def _lane(self, channel: str) -> Lane:
        lane = self._lanes.get(channel)
        if lane is None:
            lane = self._lanes[channel] = Lane(channel)
        return lane

    def urgent(self, channel: str) -> bool:
        lane = self._lanes.get(channel)
        if lane is None or not lane.ready:
            return False
        response = lane.ready[0]
        return response.tokens == 0

    def waits(self, channel: str) -> bool:
        """Returns True if `next_frame` may have something for the channel."""
        lane = self._lanes.get(channel)
        if lane is None or lane.in_flight is not None:
            return False
        return bool(lane.ready) or (bool(lane.asking) and lane.findings is None)

    def next_frame(self, channel: str, now: float) -> Frame | AskHistory | None:
        lane = self._lanes.get(channel)
        if lane is None or lane.in_flight is not None:
            return None
        if lane.asking and lane.findings is None:
            return AskHistory(channel)
        while (response := lane.next_response()) is not None:
            if not response.asked_history:
                if lane.findings is None:
                    lane.ready.insert(0, response)
                    response.wait_in_lane()
                    return AskHistory(channel)
                self._adopt_history(response, lane.findings)
            if self._drop_published(response, now):
                if response.phase is not Phase.FINISHED and response.wants_turn:
                    lane.enqueue(response)
                continue
            built = build(response, self._frame_bytes)
            lane.in_flight = built
            response.sent()
            self.in_flight += 1
            return built.frame
        self._forget_idle(lane)
        return None

    def done(self, frame: Frame, now: float) -> None:
        lane, built = self._landed(frame)
        response = built.response
        response.acknowledged_at(now)
        if built.piece is not None:
            token = built.items[0]
            assert type(token) is Token
            if piece_acknowledged(token, built.piece):
                response.take_first()
                self._acknowledge(response, built.items, token.text, now)
        else:
            self._acknowledge(response, built.items, frame.data or "", now)
        self._go_on(lane, response)

    def too_large(self, frame: Frame, code: int, now: float) -> None:
        lane, built = self._landed(frame)
        if shrink(built):
            put_back(built)
            self._go_on(lane, built.response)
        else:
            put_back(built)
            self._fail(built.response, code, "a frame of it is too large for the channel", now)
            self._go_on(lane, built.response)

    def refused(self, frame: Frame, candidates: Mapping[str, Response], code: int, message: str, now: float) -> None:
        lane, built = self._landed(frame)
        put_back(built)
        for response in [each for each in candidates.values() if each.channel == frame.channel]:
            if response.phase in {Phase.OPEN, Phase.ENDING}:
                self._fail(response, code, message, now)
        self._go_on(lane, built.response)

    # History after an unclean takeover

    def history(self, channel: str, findings: Mapping[str, Published]) -> None:
        lane = self._lane(channel)
        lane.findings = findings
        for response in lane.asking:
            if not response.asked_history:
                self._adopt_history(response, findings)
        lane.asking = ()
        if lane.ready and lane.in_flight is None:
            self._woken.append(channel)

    def ask(self, response: Response) -> None:
        """Asks the channel's history about a response whose frames may not be sent now."""
        lane = self._lane(response.channel)
        if lane.findings is not None:
            self._adopt_history(response, lane.findings)
        elif response not in lane.asking:
            lane.asking = (*lane.asking, response)
            self._woken.append(response.channel)

    @staticmethod
    def _adopt_history(response: Response, findings: Mapping[str, Published]) -> None:
        response.take_history(findings.get(response.id))

    def _drop_published(self, response: Response, now: float) -> bool:
        """Treats published frames in the history as acknowledged. Returns True if this used the response's turn."""
        history = response.history
        if history is None:
            return False
        dropped = False
        while response.sendable and (item := _take_published(response, history)) is not None:
            text = ""
            if isinstance(item, Run | Token):
                text = item.text
                item.part.note_framed()
            self._acknowledge(response, (item,), text, now)
            dropped = True
        if response.acked_seq >= history.seq_end:
            response.take_history(None)
        return dropped

    # What an answer changes

    def _landed(self, frame: Frame) -> tuple[Lane, Built]:
        lane = self._lanes[frame.channel]
        built = lane.in_flight
        assert built is not None, "an answer, but nothing is in flight"
        assert built.frame is frame, "an answer to a frame that is not in flight"
        lane.in_flight = None
        built.response.landed()
        self.in_flight -= 1
        return lane, built

    def _go_on(self, lane: Lane, response: Response) -> None:
        if response.phase in {Phase.OPEN, Phase.ENDING} and response.wants_turn:
            lane.enqueue(response)
        if lane.ready:
            self._woken.append(lane.channel)
        else:
            self._forget_idle(lane)

    def _forget_idle(self, lane: Lane) -> None:
        knows = lane.channel in self._members and (lane.findings is not None or lane.asking)
        if not knows and not lane.ready and lane.in_flight is None:
            self._lanes.pop(lane.channel, None)

    def _acknowledge(self, response: Response, items: tuple[Item, ...], text: str, now: float) -> None:
        for item in items:
            match item:
                case Run():
                    response.acknowledge_run(item)
                    self._release(response, item.cost)
                case Token():
                    response.acknowledge_token(item)
                    self._release(response, sum([cost(raw) for raw in item.raws()]))
                case Start():
                    response.acknowledge_start(item)
                    if item.raw is not None:
                        self._release(response, cost(item.raw) + RESPONSE_COST)
                case Gap():
                    response.acknowledge_gap(item)
                case Stop():
                    response.acknowledge_stop(item)
                    self._end(response, now)
                    return
                case _:
                    assert_never(item)
        if response.decoding is not None:
            self._release(response, response.decoding.acknowledged(response.acked_seq))
        first = items[0]
        if text and isinstance(first, Run | Token):
            first.part.append(text)
            self.transcript_bytes += len(text)
        self._changed.append(response)

    def _release(self, response: Response, cost: int) -> None:
        self.queued_bytes -= response.discharge(cost)

    def _fail(self, response: Response, code: int, message: str, now: float) -> None:
        for raw in _records(response.waiting_raws()):
            self._dead_letters.dead_letter(raw, Reason.UNPUBLISHABLE, f"{code}: {message}")
        response.refuse(code, message)
        self._end(response, now)

    def _end(self, response: Response, now: float) -> None:
        self._members[response.channel] -= 1
        if not self._members[response.channel]:
            del self._members[response.channel]
        self._release(response, response.queued_bytes)
        self.transcript_bytes -= sum(part.held for part in response.parts)
        self._finished(response, now)


def _take_published(response: Response, history: Published) -> Item | None:
    """Removes from the queue the published tokens of its first item."""
    item = response.queue[0]
    if type(item) is Run:
        below = history.seq_end - item.seq  # tokens that are surely published; the next one by its text alone
        if 0 < below < item.count:
            return item.split_off(below)
        if below == 0 and item.count > 1:
            first = item.split_off(1)
            response.put_back((first,))
            item = first
    if not _is_published(item, history):
        return None
    return response.take_first()


def _is_published(item: Item, history: Published) -> bool:
    """Returns True if the history, which shows frames up to `seq_end`, already has this item."""
    match item:
        case Start():
            return True
        case Gap():
            return item.last <= history.seq_end
        case Stop():
            return history.stopped
        case Run() | Token():
            if item.seq_end != history.seq_end:
                return item.seq_end < history.seq_end
            return history.lengths.get(item.part.name, 0) >= item.part.length + utf16_length(item.text)
        case _:
            assert_never(item)


def _records(raws: Iterable[Raw]) -> Iterator[Raw]:
    """Returns each record once, also if several of its token events wait."""
    seen = -1
    for raw in raws:
        if raw.offset != seen:
            yield raw
        seen = raw.offset
