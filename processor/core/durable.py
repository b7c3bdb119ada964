"""Builds response records from responses, and restores responses from them.

The field `relay` of a record belongs to the relay:

- `offset`: in a snapshot the last covered tokens offset, in a final record the last one that was read.
- `known`: a larger offset that holds a record of the response, if there is one.
- `start`: the digest of the start record.
- `seqless`: the producer leaves numbers out.
- `decided` ({"gaps": [[first, last]], "end": {"reason", "seq"}}): decisions that are not yet acknowledged.
- `refused`: the channel refuses the response permanently.
- `ended`: the relay made the stop, so no record has its number.
- `openai`: for OpenAI's format, the covered position of the log and the decoder's state there.
"""

from processor.core.decoding import restored as decoding_of
from processor.core.response import Phase, Response
from topics.records import JsonObject, Part, ResponseRecord, Status


def record_of(response: Response, wall_ms: int) -> ResponseRecord:
    """Returns the acknowledged prefix of a response as a record. All its text must be in memory."""
    finished = response.phase is Phase.FINISHED
    return ResponseRecord(
        response_id=response.id,
        channel=response.channel,
        status=response.status if finished else Status.STREAMING,
        reason=response.reason if finished else None,
        error=response.error if finished else None,
        parts=tuple(
            Part(part=part.name, kind=part.kind, text=part.text(), length=part.length, info=part.info)
            for part in response.parts
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
    if response.unnumbered:
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
    """Restores an open response from its newest record, which is at `offset` of the responses partition."""
    response = Response(record.response_id, now)
    response.restore(record, offset)
    if (saved := record.relay.get("openai")) is not None:
        response.restore_decoding(decoding_of(saved, response.updated_at))
    return response
