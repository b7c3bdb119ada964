"""Classifies a consumed record of a response: next in sequence, early, a repeat, too late, or wrong.

Works on one open response, and does not depend on lanes, offsets or storage.
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
    """Classifies a token or stop of an open response. Assigns the number if the producer leaves `seq` out."""
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
        end = response.decided_end  # no record has its number: a record with it is not a repeat
        taken = response.phase is Phase.ENDING and end is not None and record.seq >= end.seq
        return Reason.LATE if taken or response.in_known_gap(record.seq) else Verdict.DUPLICATE
    if response.phase is Phase.ENDING:
        return Reason.LATE
    return Verdict.ACCEPTED if record.seq == response.next_seq else _ahead(response, record.seq)


def _ahead(response: Response, seq: int) -> Verdict:
    return Verdict.DUPLICATE if seq in response.early else Verdict.HELD


def take_token(response: Response, record: TokenRecord, raw: Raw, limit: int) -> Reason | None:
    """Accepts the next token, or returns why it cannot be accepted: TOO_LARGE if the response is full.

    Returns INVALID for a part beyond the bound; the token's number is then skipped as a gap.
    """
    added = token_size(record.text or "")
    part = response.part(record.part or "")
    if part is None:
        if len(response.parts) >= MAX_PARTS:
            return skip(response, raw, limit) or Reason.INVALID
        part = PartText(record.part or "", record.kind or "", record.part_info)
        added += part_size(part)
    if response.size + added > limit:
        return Reason.TOO_LARGE
    response.add_token(record, raw, part, added)
    return None


def take_stop(response: Response, record: TokenRecord, raw: Raw, limit: int) -> Reason | None:
    """Accepts the producer's stop. Returns TOO_LARGE if its usage or error does not fit into the record."""
    added = encoded_size(record.usage) + encoded_size(record.error)
    if response.size + added > limit:
        return Reason.TOO_LARGE
    response.add_stop(record, raw, added)
    return None


def skip(response: Response, raw: Raw, limit: int) -> Reason | None:
    """Skips the number of a record that the log shows to be unusable. Returns TOO_LARGE if the response is full."""
    if not response.extends_gap and response.size + GAP_SIZE > limit:
        return Reason.TOO_LARGE
    response.skip_number(raw)
    return None


def next_known(response: Response) -> int | None:
    """Returns the first known number beyond the next one: of an early record, or of a predecessor's decision."""
    known = [*response.early, *response.to_obey]
    if response.decided_end is not None and response.phase is Phase.OPEN:
        known.append(response.decided_end.seq)
    return min((seq for seq in known if seq > response.next_seq), default=None)


def is_start(record: TokenRecord) -> bool:
    return record.event == Event.START
