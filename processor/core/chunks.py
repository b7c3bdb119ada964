"""Applies records in OpenAI's format to the responses of a partition.

Records of a response are numbered in the order of its log, as for a producer that leaves numbers out.
A record below what was decoded is a repeat.
A response ends with the record that ends it, or when every choice has finished and no record arrives for the gap
timeout.
The log does not hold the second kind of end, so it is durable before it is published.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from processor.core.counts import Counts
from processor.core.decoding import Share
from processor.core.details import DETAILS
from processor.core.ended import Ended
from processor.core.finished import Finished, judge_after_end
from processor.core.items import Raw
from processor.core.limits import RESPONSE_COST, Limits
from processor.core.outflow import Outflow
from processor.core.response import Phase, Response
from processor.core.sequencer import Verdict
from processor.core.timers import Kind, Timers
from processor.core.write_queue import WriteQueue
from topics.codec import TokenRecord
from topics.limits import ChannelPattern, Invalid
from topics.openai import CONTENT_TYPE, Body, Chunk, Format, header, identify, recognize
from topics.openai_channel import ChannelTemplate, channel_of
from topics.openai_state import Step
from topics.openai_stream import advance, bears_text, begin, end_after_gap
from topics.plain import PlainToken
from topics.records import EndReason, Event, Reason

MAX_REFUSED_IDS: Final = 4096
"""The maximum number of responses without a channel that are remembered, so that only their first record is called
invalid.
"""
_OUR_FIELD: Final = b'"event"'


class ChunkFormat(msgspec.Struct, frozen=True):
    """Decides which records are read as OpenAI's, and which channel their responses have."""

    tokens_format: Format = Format.AUTO
    template: ChannelTemplate | None = None
    pattern: ChannelPattern | None = None


ANY_FORMAT: Final = ChunkFormat()


class Opening(Protocol):
    def __call__(self, response_id: str, raw: Raw, now: float) -> Response: ...


class Actions(msgspec.Struct, frozen=True):
    """The operations of the intake on token events, for any record format."""

    open: Opening
    start: Callable[[Response, TokenRecord, Raw, float], None]
    accept: Callable[[Response, TokenRecord, Raw], None]
    advance: Callable[[Response, float], None]
    end: Callable[[Response, EndReason], None]
    charge: Callable[[Response, int], None]
    note: Callable[[Response, Raw], None]
    """Notes a consumed record that a later response record must cover."""
    counts: Counts


class Chunks:
    """Consumes the records of a partition that are in OpenAI's format."""

    __slots__ = ("_actions", "_format", "_limits", "_open", "_outflow", "_refused", "_timers", "_write_queue")

    def __init__(
        self,
        chunk_format: ChunkFormat,
        limits: Limits,
        write_queue: WriteQueue,
        outflow: Outflow,
        timers: Timers,
        open_responses: Mapping[str, Response],
        actions: Actions,
    ) -> None:
        self._format = chunk_format
        self._limits = limits
        self._write_queue = write_queue
        self._outflow = outflow
        self._timers = timers
        self._open = open_responses
        self._actions = actions
        self._refused: OrderedDict[str, None] = OrderedDict()

    # Which records

    def recognized(self, raw: Raw) -> Body | Invalid | None:
        """Returns the decoded record if it is certainly not in tokenstream's format, and None if that is undecided."""
        value = raw.value
        forced = self._format.tokens_format is Format.OPENAI or (
            bool(raw.headers) and CONTENT_TYPE in (header(raw.headers, "content-type") or b"").lower()
        )
        if forced or (value is not None and _OUR_FIELD not in value):
            return recognize(value, raw.headers, self._format.tokens_format)
        return None

    def recognized_after_all(self, raw: Raw) -> Body | Invalid | None:
        """Returns the decoded record, for a record that is not valid in tokenstream's format."""
        return recognize(raw.value, raw.headers, self._format.tokens_format)

    # Taking

    def consume(self, body: Body | Invalid, raw: Raw, now: float) -> None:
        """Consumes one record. Never raises, whatever the record holds."""
        chunk = body if isinstance(body, Invalid) else identify(body, raw.key, raw.headers)
        if chunk is None:
            return
        if isinstance(chunk, Invalid):
            self._write_queue.dead_letter(raw, chunk.reason, chunk.detail)
            return
        response = self._open.get(chunk.response_id)
        if response is not None and response.phase is not Phase.AWAITING_START:
            response.note_read(raw.offset, now)
            self._continue(response, chunk, raw, now)
        elif (finished := self._write_queue.finished.get(chunk.response_id)) is not None:
            self._judge_after_end(finished, chunk, raw)
        else:
            self._begin(chunk, raw, now)

    def _begin(self, chunk: Chunk, raw: Raw, now: float) -> None:
        """Handles the first record of an unknown response."""
        if chunk.response_id in self._refused:
            self._write_queue.dead_letter(raw, Reason.NO_START, DETAILS[Reason.NO_START])
            return
        if not chunk.opens:
            return
        rules = self._format
        channel = channel_of(chunk.response_id, raw.key, raw.headers, rules.template, rules.pattern)
        if isinstance(channel, Invalid):
            self._refuse(chunk.response_id)
            if channel.reason is Reason.CHANNEL_FORBIDDEN:
                named = channel_of(chunk.response_id, raw.key, raw.headers, rules.template)
                self._write_queue.refuse_start(chunk.response_id, str(named))
            self._write_queue.dead_letter(raw, channel.reason, channel.detail)
            return
        step = begin(chunk, channel)
        response = self._actions.open(chunk.response_id, raw, now)
        response.note_read(raw.offset, now)
        response.decode_from(raw.offset)
        self._actions.start(response, step.records[0], raw, now)
        self._apply(response, msgspec.structs.replace(step, records=step.records[1:]), raw, now, opened=True)

    def _refuse(self, response_id: str) -> None:
        self._refused[response_id] = None
        if len(self._refused) > MAX_REFUSED_IDS:
            self._refused.popitem(last=False)

    def _continue(self, response: Response, chunk: Chunk, raw: Raw, now: float) -> None:
        decoding = response.decoding
        if decoding is None and response.phase is Phase.OPEN:
            self._refuse_text(chunk, raw, Reason.INVALID, "a chunk in a response whose other records are events")
            return
        if decoding is None:
            self._refuse_text(chunk, raw, Reason.LATE, DETAILS[Reason.LATE])
            return
        if raw.offset < decoding.next_offset:
            self._actions.counts.duplicates += 1
            return
        if decoding.closed is not None and raw.offset > decoding.closed:
            self.close_as_decided(response, now)
        if response.phase is not Phase.OPEN:
            self._refuse_text(chunk, raw, Reason.LATE, DETAILS[Reason.LATE])
            return
        self._apply(response, advance(decoding.state, chunk), raw, now)
        self.close_as_decided(response, now)

    def _refuse_text(self, chunk: Chunk, raw: Raw, reason: Reason, detail: str) -> None:
        """Dead-letters text that arrives after the end. Ignores records without text: `[DONE]` and usage may follow
        the end.
        """
        if bears_text(chunk):
            self._write_queue.dead_letter(raw, reason, detail)

    def _judge_after_end(self, finished: Finished | Ended, chunk: Chunk, raw: Raw) -> None:
        unnumbered = TokenRecord(Event.TOKEN.value, chunk.response_id)
        verdict = judge_after_end(finished, unnumbered, raw, "", self._write_queue.finished.replayed_before)
        if isinstance(verdict, Verdict):
            self._actions.counts.duplicates += 1
        else:
            self._refuse_text(chunk, raw, verdict, DETAILS.get(verdict, ""))

    def _apply(self, response: Response, step: Step, raw: Raw, now: float, *, opened: bool = False) -> None:
        """Accepts the token events of one record, except those that were acknowledged before a takeover."""
        decoding = response.decoding
        assert decoding is not None
        skip, before, size = decoding.skip, decoding.state, decoding.size
        held = decoding.note(raw, response.next_seq - skip, len(step.records), step.state)
        changed = step.state is not before
        self._actions.counts.parts_dropped += step.dropped
        if held:
            self._actions.charge(response, held)
        response.grow(decoding.size - size)
        if (step.records or changed) and not opened:
            self._actions.note(response, raw)
        self._take_events(response, step.records[skip:], raw, now)
        if response.phase is not Phase.OPEN:
            return
        if response.size > self._limits.response:
            self._write_queue.dead_letter(raw, Reason.TOO_LARGE, "the response would pass MAX_RESPONSE_BYTES")
            self._actions.end(response, EndReason.TOO_LARGE)
            return
        if changed:
            self._outflow.note_changed(response)
        if changed or step.records:
            self._watch_end(response, now)

    def _take_events(self, response: Response, records: Sequence[TokenRecord], raw: Raw, now: float) -> None:
        """Keeps the record with the last event, which is acknowledged last."""
        share: Raw = Share(raw, raw.offset, raw.timestamp)
        last = len(records) - 1
        for number, record in enumerate(records):
            if response.phase is not Phase.OPEN:
                return
            record.seq = response.next_seq
            self._actions.accept(response, record, raw if number == last else share)
            if response.phase is Phase.OPEN:
                self._actions.advance(response, now)

    # The end by the gap timeout

    def _watch_end(self, response: Response, now: float) -> None:
        decoding = response.decoding
        assert decoding is not None
        decoding.still_since = now if decoding.state.finished else None
        if decoding.state.finished:
            self._timers.arm(now + self._limits.gap_timeout, Kind.FINISH, response)

    def finish_expired(self, response: Response, deadline: float, unreachable_at: float) -> None:
        """Ends a response whose choices have finished, if none of its records arrived in the gap timeout before
        `deadline`.
        """
        decoding, timeout = response.decoding, self._limits.gap_timeout
        if decoding is None or decoding.still_since is None or response.phase is not Phase.OPEN:
            return
        since = max(decoding.still_since, unreachable_at)
        if since + timeout > deadline:
            if since > decoding.still_since:
                self._timers.arm(since + timeout, Kind.FINISH, response)
            return
        decoding.closed = decoding.next_offset - 1
        self._close(response, durable=False)
        self._write_queue.decide(response)

    def close_as_decided(self, response: Response, now: float) -> None:
        """Applies an end that a predecessor decided durably, once the log is read up to it."""
        decoding = response.decoding
        if decoding is None or response.phase is not Phase.OPEN:
            return
        if decoding.closed is not None and decoding.next_offset > decoding.closed:
            self._close(response, durable=True)
        elif decoding.closed is None and decoding.state.finished and decoding.still_since is None:
            self._watch_end(response, now)

    def _close(self, response: Response, *, durable: bool) -> None:
        decoding = response.decoding
        assert decoding is not None
        records = end_after_gap(decoding.state, response.id).records
        skip, decoding.skip = decoding.skip, 0
        decoding.end_first = response.next_seq - skip
        share: Raw = Share(None, decoding.next_offset - 1, decoding.last_time)
        response.replace_unpaired(determined=durable)
        queued = len(response.queue)
        for record in records[skip:]:
            if response.phase is not Phase.OPEN:
                break
            if record.event == Event.STOP:
                response.replace_unpaired(determined=durable)
                response.queue_stop(record, share, durable=durable)
                self._actions.charge(response, RESPONSE_COST)
            else:
                record.seq = response.next_seq
                self._actions.accept(response, record, share)
        if not durable:
            response.hold_back(queued)
        self._outflow.enqueue(response)


def never_plain(_value: bytes) -> PlainToken:
    """Replaces the decoder of plain tokens where every record is a chunk."""
    raise ValueError("no record is a plain token")
