"""Response records as the core makes them, and takes them up again.

`relay` in a record is the relay's own: `offset` (of a snapshot the last tokens offset covered, of a final the last one
read), `known` (a larger offset at which a record of the response stands, if there is one), `start` (digest of the start record),
`seqless`, `decided` ({"gaps": [[first, last]], "end": {"reason", "seq"}}: what was decided and is not yet
acknowledged), `refused`, `ended` (the relay made the stop, so that its number is no record's), `openai` (of a response in
OpenAI's format: what of its log the record covers, and the decoder's state there).
"""

from processor.core.decoding import restored as decoding_of
from processor.core.items import time_or_zero
from processor.core.limits import RECORD_OVERHEAD
from processor.core.response import End, PartText, Phase, Response
from processor.core.sequencer import GAP_SIZE, encoded_size
from processor.core.text import json_length
from topics.records import JsonObject, Part, ResponseRecord, Status


def record_of(response: Response, wall_ms: int) -> ResponseRecord:
    """The acknowledged prefix of a response, as a record. All its text must be in memory."""
    finished = response.phase is Phase.FINISHED
    return ResponseRecord(
        response_id=response.id,
        channel=response.channel,
        status=response.status if finished else Status.STREAMING,
        reason=response.reason if finished else None,
        error=response.error if finished else None,
        parts=tuple(
            Part(part=part.name, kind=part.kind, text=part.text(), length=part.length, info=part.info)
            for part in response.parts.values()
            if part.acknowledged
        ),
        seq=max(response.acked_seq, 0),
        tokens=response.tokens,
        gaps=tuple(response.gaps),
        metadata=response.metadata,
        usage=response.usage if finished else None,
        started_at=response.started_at,
        first_token_at=response.first_token_at,
        updated_at=max(response.updated_at, response.started_at),
        finished_at=(response.finished_at or wall_ms) if finished else None,
        relay=_relay(response, finished=finished),
    )


def _relay(response: Response, *, finished: bool) -> JsonObject:
    own: JsonObject = {
        "offset": response.last_offset if finished else response.acked_offset,
        "start": response.start_digest,
    }
    if finished and response.acked_offset > response.last_offset:
        own["known"] = response.acked_offset
    if response.seqless:
        own["seqless"] = True
    if response.refused:
        own["refused"] = True
    if response.ended_by_relay:
        own["ended"] = True
    decided: JsonObject = {}
    if response.decided_gaps:
        decided["gaps"] = [list(gap) for gap in response.decided_gaps]
    if response.decided_end is not None:
        decided["end"] = {"reason": response.decided_end.reason, "seq": response.decided_end.seq}
    if decided and not finished:
        own["decided"] = decided
    if response.decoding is not None and not finished:
        own["openai"] = response.decoding.saved(response.acked_seq)
    return own


def restored(record: ResponseRecord, offset: int, now: float) -> Response:
    """An open response taken up from its newest record, which stands at `offset` of the responses partition."""
    response = Response(record.response_id, now)
    relay = record.relay
    response.phase = Phase.OPEN
    response.channel = record.channel
    response.metadata = record.metadata
    response.start_digest = str(relay.get("start", ""))
    response.seqless = bool(relay.get("seqless", False))
    response.next_seq = record.seq + 1
    response.acked_seq = response.covered_seq = response.saved_seq = record.seq
    response.acked_offset = int(relay.get("offset", -1))
    # Numbered records may have overtaken each other: those before that offset are not all covered.
    response.last_offset = response.acked_offset if response.seqless else -1
    response.tokens = record.tokens
    response.gaps = [(first, last) for first, last in record.gaps]
    # Earlier versions wrote Kafka's timestamps as they were.
    first_token_at = record.first_token_at
    response.started_at, response.updated_at = time_or_zero(record.started_at), time_or_zero(record.updated_at)
    response.first_token_at = None if first_token_at is None else time_or_zero(first_token_at)
    response.record_offset = offset
    response.size = RECORD_OVERHEAD + json_length(record.response_id) + json_length(record.channel)
    for part in record.parts:
        text = PartText(part.part, part.kind, part.info)
        text.restore(part.text)
        response.parts[part.part] = text
        response.size += 96 + json_length(part.part) + json_length(part.kind)
        response.size += json_length(part.text) + encoded_size(part.info)
    response.size += encoded_size(record.metadata) + GAP_SIZE * len(record.gaps)
    decided = relay.get("decided") or {}
    response.decided_gaps = sorted((int(first), int(last)) for first, last in decided.get("gaps", []))
    response.to_obey = dict(response.decided_gaps)
    if end := decided.get("end"):
        response.decided_end = End(str(end["reason"]), int(end["seq"]))
    response.covered_mark = response.saved_mark = record.seq
    if (saved := relay.get("openai")) is not None:
        _restore_decoding(response, saved)
    return response


def _restore_decoding(response: Response, saved: JsonObject) -> None:
    decoding = response.decoding = decoding_of(saved, response.updated_at)
    response.size += decoding.size
    response.covered_mark = response.saved_mark = decoding.next_offset - 1
    response.last_offset = max(response.last_offset, response.covered_mark)
