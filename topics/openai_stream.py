"""Maps the records of one response in OpenAI's format to a start, tokens of its parts, and a stop.

The caller keeps the `State`, and numbers the token events in the order given.
The result depends only on state and record: a caller that reads the same records again from any kept state gets the
same events.

    none --begin--> open --advance--> open ... --advance, or end_after_gap--> ended
"""

from typing import Final

from topics import openai_chat, openai_responses
from topics.codec import TokenRecord
from topics.limits import MAX_TIME_MS, Invalid
from topics.objects import read_object
from topics.openai import Chunk
from topics.openai_parts import Draft
from topics.openai_state import State, Step
from topics.records import Event, JsonObject

UPSTREAM_EMPTY: Final = "upstream_empty"


def begin(chunk: Chunk, channel: str) -> Step:
    """Opens a response with its first record. The first token event is its start."""
    step = advance(State(), chunk)
    start = TokenRecord(Event.START.value, chunk.response_id, channel=channel, metadata=_metadata(chunk.body.fields))
    return Step(step.state, (start, *step.records), step.dropped)


def advance(state: State, chunk: Chunk) -> Step:
    """Applies a further record of a response. Never raises. After the end only text counts, as late."""
    if state.ended:
        return Step(state, late=bears_text(chunk))
    draft = Draft(state, chunk.response_id)
    fields = chunk.body.fields
    if chunk.body.done:
        _end_at_done(draft)
    elif openai_responses.is_responses_event(fields):
        openai_responses.read_event(draft, fields)
    else:
        openai_chat.read_chat(draft, fields)
    return draft.step()


def end_after_gap(state: State, response_id: str) -> Step:
    """Ends a response whose choices have all finished, if no record of it arrived for the gap timeout since.

    The log does not hold this decision, so the caller must keep it. Does nothing if `state.finished` is false.
    """
    draft = Draft(state, response_id)
    if state.finished:
        openai_chat.end_finished(draft)
    return draft.step()


def bears_text(chunk: Chunk) -> bool:
    """Returns True if the record has text, which is late after the end of its response. Everything else is then
    ignored.
    """
    fields = chunk.body.fields
    if openai_responses.is_responses_event(fields):
        return openai_responses.bears_text(fields)
    return openai_chat.bears_text(fields)


def _end_at_done(draft: Draft) -> None:
    if openai_chat.end_finished(draft):
        return
    if draft.parts or draft.calls:
        draft.end("stop")
        return
    error = {"code": UPSTREAM_EMPTY, "message": "The model service sent [DONE] without any text."}
    draft.end("error", error=error)


def _metadata(fields: JsonObject) -> JsonObject:
    """Returns model and time of creation, if the first record has them."""
    source, created_name = fields, "created"
    if openai_responses.is_responses_event(fields):
        response = fields.get("response")
        source, created_name = (response if isinstance(response, dict) else {}), "created_at"
    model, created = source.get("model"), source.get(created_name)
    found: JsonObject = {"model": model} if isinstance(model, str) and model else {}
    if isinstance(created, int | float) and not isinstance(created, bool) and 0 < created <= MAX_TIME_MS:
        found["created"] = created
    taken = read_object("metadata", found)
    return {} if isinstance(taken, Invalid) else taken
