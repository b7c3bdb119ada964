"""What a consumed record means for its response: next in sequence, early, a repeat, too late, or wrong.

Works on one open response; knows nothing of lanes, offsets or storage.
"""

from bisect import insort
from enum import Enum, auto

import orjson

from processor.core.items import time_of
from processor.core.limits import RECORD_OVERHEAD
from processor.core.response import End, Gap, PartText, Phase, Raw, Response, Start, Stop
from processor.core.text import json_length
from topics.codec import TokenRecord
from topics.limits import MAX_PARTS
from topics.records import STATUS_BY_REASON, Event, JsonObject, Reason, Status

CANCELLED = "cancelled"
"""Why the relay ends a response that its producer does not, though it was cancelled. It has no error."""


class Verdict(Enum):
    ACCEPTED = auto()
    HELD = auto()
    DUPLICATE = auto()


GAP_SIZE = 32
"""Bytes of a gap inside an encoded record."""
RELAY_STATUS = {"abandoned": Status.ABANDONED, CANCELLED: Status.CANCELLED}
"""Statuses of the ends the relay makes itself; any other reason means `failed`."""


def judge(response: Response, record: TokenRecord, raw: Raw) -> Verdict | Reason:
    """Where a token or stop of an open response stands. Numbers it when the response leaves `seq` out."""
    if response.phase is Phase.AWAITING_START:
        return Reason.NO_START if record.seq is None else _ahead(response, record.seq)
    if response.decoding is not None:
        return Reason.INVALID
    if response.seqless:
        if record.seq is not None:
            return Reason.INVALID
        if raw.offset <= response.acked_offset:
            return Verdict.DUPLICATE
        if response.phase is Phase.ENDING:
            return Reason.LATE
        record.seq = response.next_seq
        return Verdict.ACCEPTED
    if record.seq is None:
        return Reason.INVALID
    if record.seq < response.next_seq:
        end = response.decided_end  # its number is no record's: what comes with it is no repeat
        taken = response.phase is Phase.ENDING and end is not None and record.seq >= end.seq
        return Reason.LATE if taken or response.in_known_gap(record.seq) else Verdict.DUPLICATE
    if response.phase is Phase.ENDING:
        return Reason.LATE
    return Verdict.ACCEPTED if record.seq == response.next_seq else _ahead(response, record.seq)


def _ahead(response: Response, seq: int) -> Verdict:
    return Verdict.DUPLICATE if seq in response.early else Verdict.HELD


def begin(response: Response, record: TokenRecord, raw: Raw, digest: str) -> None:
    response.enter(Phase.OPEN)
    response.channel = record.channel or ""
    response.metadata = record.metadata
    response.metadata_size = encoded_size(record.metadata)
    response.start_digest = digest
    response.seqless = record.seq is None
    response.started_at = time_of(record.ts, raw)
    response.size = RECORD_OVERHEAD + json_length(response.id) + json_length(response.channel) + response.metadata_size
    response.next_seq = 1
    response.queue.append(Start(raw))


def take_token(response: Response, record: TokenRecord, raw: Raw, limit: int) -> Reason | None:
    """Accept the next token, or say why it can't be taken: TOO_LARGE when the response is full.

    INVALID for a part beyond the bound: the token's number is then passed over as a gap.
    """
    part = response.parts.get(record.part or "")
    if part is None:
        if len(response.parts) >= MAX_PARTS:
            return skip(response, raw, limit) or Reason.INVALID
        part = PartText(record.part or "", record.kind or "", record.part_info)
    added = token_size(record.text or "")
    if part.name not in response.parts:
        added += 96 + json_length(part.name) + json_length(part.kind) + encoded_size(part.info)
    if response.size + added > limit:
        return Reason.TOO_LARGE
    response.size += added
    response.parts[part.name] = part
    response.append_token(record, raw, part)
    response.next_seq += 1
    return None


def take_stop(response: Response, record: TokenRecord, raw: Raw, limit: int) -> Reason | None:
    """Accept the producer's stop. TOO_LARGE when its usage or error would not fit into the record."""
    added = encoded_size(record.usage) + encoded_size(record.error)
    if response.size + added > limit:
        return Reason.TOO_LARGE
    response.size += added
    response.settle_torn()
    queue_stop(response, record, raw, durable=True)
    return None


def queue_stop(response: Response, record: TokenRecord, raw: Raw, *, durable: bool) -> None:
    """Ends the response as `record` says. An end that is not durable waits until it is."""
    reason = record.reason or "stop"
    response.usage, response.error = record.usage, record.error
    response.finished_at = time_of(record.ts, raw)
    response.queue.append(Stop(response.next_seq, reason, STATUS_BY_REASON[reason], durable=durable, raw=raw))
    response.next_seq += 1
    response.enter(Phase.ENDING)


def skip(response: Response, raw: Raw, limit: int) -> Reason | None:
    """Pass over the number of a record that the log itself shows to be unusable. TOO_LARGE when the response is full."""
    tail = response.queue[-1] if response.queue else None
    if type(tail) is Gap and tail.raw is not None and tail.last == response.next_seq - 1:
        tail.last, tail.raw = response.next_seq, raw
    elif response.size + GAP_SIZE > limit:
        return Reason.TOO_LARGE
    else:
        response.settle_torn()
        response.queue.append(Gap(response.next_seq, response.next_seq, durable=True, raw=raw))
        response.size += GAP_SIZE
    response.next_seq += 1
    return None


def next_known(response: Response) -> int | None:
    """The first number, beyond the next, of which something is known: an early record, or what a predecessor decided."""
    known = [*response.early, *response.to_obey]
    if response.decided_end is not None and response.phase is Phase.OPEN:
        known.append(response.decided_end.seq)
    return min((seq for seq in known if seq > response.next_seq), default=None)


def give_up_gap(response: Response, last: int) -> None:
    """Decide that the numbers up to `last` never come. To be made durable before it is published."""
    first = response.next_seq
    response.settle_torn(determined=False)
    insort(response.decided_gaps, (first, last))  # gaps that a predecessor decided may come later in the sequence
    response.queue.append(Gap(first, last, durable=False))
    response.next_seq = last + 1
    response.size += GAP_SIZE


def decide_end(response: Response, reason: str) -> None:
    """Decide that the relay closes the response after what was accepted. To be made durable before it is published."""
    response.settle_torn(determined=False)
    response.decided_end = End(reason, response.next_seq)
    _queue_end(response, response.decided_end, durable=False)


def obey_decisions(response: Response) -> bool:
    """Apply what a predecessor decided durably, once the sequence has come to it. Whether anything was applied."""
    applied = False
    while (last := response.to_obey.pop(response.next_seq, None)) is not None:
        response.settle_torn()
        response.queue.append(Gap(response.next_seq, last, durable=True))
        response.next_seq = last + 1
        response.size += GAP_SIZE
        applied = True
    end = response.decided_end
    if end is not None and end.seq == response.next_seq and response.phase is Phase.OPEN:
        response.settle_torn()
        _queue_end(response, end, durable=True)
        applied = True
    return applied


def _queue_end(response: Response, end: End, *, durable: bool) -> None:
    status = RELAY_STATUS.get(end.reason, Status.FAILED)
    response.queue.append(Stop(end.seq, end.reason, status, durable))
    response.error = None if end.reason == CANCELLED else {"code": end.reason}
    response.next_seq = end.seq + 1
    response.enter(Phase.ENDING)


def token_size(text: str) -> int:
    """Bytes of a token's text inside an encoded record; an upper bound where it holds half a surrogate pair."""
    try:
        return json_length(text)
    except orjson.JSONEncodeError:
        return len(text) * 6


def encoded_size(value: JsonObject | None) -> int:
    return 0 if value is None else len(orjson.dumps(value))


def is_start(record: TokenRecord) -> bool:
    return record.event == Event.START
