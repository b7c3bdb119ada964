"""Converts a model server's stream to token events, from the data of its server-sent events.

    reader = StreamReader(response_id, channel)
    for each event:  reader.read(data)     # the event's records
    at the end:      reader.finish()       # the stop, if the stream had none
    or, if it failed: reader.fail(code, message)

The first token event is the start, the last one the stop; nothing follows it.
"""

from dataclasses import dataclass
from typing import Final

from topics.codec import TokenRecord
from topics.limits import Invalid
from topics.openai import Body, Chunk, Format, recognize
from topics.openai_state import State, Step
from topics.openai_stream import advance, begin, end_after_gap
from topics.records import JsonObject

UPSTREAM_ERROR: Final = "upstream_error"
INCOMPLETE: Final = "incomplete"
BRIDGE_STOPPED: Final = "bridge_stopped"


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one event: its chunk, where it is one, and the token events it brings. `done`: it was `[DONE]`."""

    fields: JsonObject | None = None
    records: tuple[TokenRecord, ...] = ()
    done: bool = False


class StreamReader:
    """The stream of one response. Never raises, whatever the events hold."""

    __slots__ = ("_channel", "_response_id", "_state", "dropped", "error")

    def __init__(self, response_id: str, channel: str) -> None:
        self._response_id = response_id
        self._channel = channel
        self._state: State | None = None
        self.dropped = 0
        """Deltas of parts or choices beyond the bounds."""
        self.error: JsonObject | None = None
        """Of the stop, where the response failed: its code and message."""

    @property
    def ended(self) -> bool:
        """Whether the stop has come."""
        return self._state is not None and self._state.ended

    def read(self, data: bytes) -> Reading:
        """Reads one event. One that is no chunk means nothing."""
        body = recognize(data, (), Format.OPENAI)
        if body is None or isinstance(body, Invalid):
            return Reading()
        records = self._take(body)
        return Reading(None if body.done else body.fields, records, body.done)

    def finish(self) -> tuple[TokenRecord, ...]:
        """The stream ended. Without a finish or `[DONE]` it was cut off."""
        if self.ended:
            return ()
        if self._state is not None and self._state.finished:
            return self._kept(end_after_gap(self._state, self._response_id))
        return self.fail(INCOMPLETE, "The model server's stream ended without a finish reason.")

    def fail(self, code: str, message: str) -> tuple[TokenRecord, ...]:
        """Ends the response with an error. Does nothing after its end."""
        return () if self.ended else self._take(Body({"error": {"code": code, "message": message}}))

    def _take(self, body: Body) -> tuple[TokenRecord, ...]:
        chunk = Chunk(self._response_id, body, opens=True)
        return self._kept(begin(chunk, self._channel) if self._state is None else advance(self._state, chunk))

    def _kept(self, step: Step) -> tuple[TokenRecord, ...]:
        self._state = step.state
        self.dropped += step.dropped
        if self.ended and step.records:
            self.error = step.records[-1].error
        return step.records
