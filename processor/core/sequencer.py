"""What a consumed record means for its response: next in sequence, early, a repeat, too late, or wrong.

Works on one open response; knows nothing of lanes, offsets or storage.
"""

from enum import Enum, auto

from processor.core.response import PartText, Phase, Raw, Response
from processor.core.sizes import GAP_SIZE, encoded_size, part_size, token_size
from topics.codec import TokenRecord
from topics.limits import MAX_PARTS
from topics.records import Event, Reason


class Verdict(Enum):
    ACCEPTED = auto()
    HELD = auto()
    DUPLICATE = auto()


def judge(response: Response, record: TokenRecord, raw: Raw) -> Verdict | Reason:
    """Where a token or stop of an open response stands. Numbers it when the response leaves `seq` out."""
    if response.phase is Phase.AWAITING_START:
        return Reason.NO_START if record.seq is None else _ahead(response, record.seq)
    if response.decoding is not None:
        return Reason.INVALID
    if response.unnumbered:
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
        added += part_size(part)
    if response.size + added > limit:
        return Reason.TOO_LARGE
    response.add_token(record, raw, part, added)
    return None


def take_stop(response: Response, record: TokenRecord, raw: Raw, limit: int) -> Reason | None:
    """Accept the producer's stop. TOO_LARGE when its usage or error would not fit into the record."""
    added = encoded_size(record.usage) + encoded_size(record.error)
    if response.size + added > limit:
        return Reason.TOO_LARGE
    response.add_stop(record, raw, added)
    return None


def skip(response: Response, raw: Raw, limit: int) -> Reason | None:
    """Pass over the number of a record that the log itself shows to be unusable. TOO_LARGE when the response is full."""
    if not response.extends_gap and response.size + GAP_SIZE > limit:
        return Reason.TOO_LARGE
    response.skip_number(raw)
    return None


def next_known(response: Response) -> int | None:
    """The first number, beyond the next, of which something is known: an early record, or what a predecessor decided."""
    known = [*response.early, *response.to_obey]
    if response.decided_end is not None and response.phase is Phase.OPEN:
        known.append(response.decided_end.seq)
    return min((seq for seq in known if seq > response.next_seq), default=None)


def is_start(record: TokenRecord) -> bool:
    return record.event == Event.START
