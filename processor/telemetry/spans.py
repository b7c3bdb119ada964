"""A trace span for each response, from its start's acknowledgement to its stop's, inside the trace that its producer
named.

Uses only OpenTelemetry's API: without an SDK in the process (as `opentelemetry-instrument` installs one) every span
is the API's own that records nothing, and nothing is kept. The only module that imports it.
"""

from collections import OrderedDict

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from processor.core.framer import Frame

MOST_OPEN = 10_000
SPOILED = ("failed", "abandoned")


class ResponseSpans:
    """Of one partition's lanes. Spans of responses that end elsewhere are ended, unfinished, by `close`."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or trace.get_tracer("tokenstream")
        self._propagator = TraceContextTextMapPropagator()
        self._open: OrderedDict[str, Span] = OrderedDict()

    def acknowledged(self, frame: Frame) -> None:
        """Cheap for what neither starts nor ends a response."""
        if frame.name == "start":
            self._start(frame)
        elif self._open and frame.first_token_of is not None and (span := self._open.get(frame.response_id)):
            span.add_event("first token")
        elif self._open and frame.name == "stop":
            self.ended(
                frame.response_id, failed=any(f'"status":"{status}"' in (frame.data or "") for status in SPOILED)
            )

    def ended(self, response_id: str, *, failed: bool) -> None:
        span = self._open.pop(response_id, None)
        if span is not None:
            span.set_status(Status(StatusCode.ERROR if failed else StatusCode.OK))
            span.end()

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].end()

    def _start(self, frame: Frame) -> None:
        context = self._propagator.extract(dict(frame.trace))
        span = self._tracer.start_span(
            "relay response",
            context,
            SpanKind.CONSUMER,
            {"messaging.system": "kafka", "tokenstream.response_id": frame.response_id},
        )
        if not span.is_recording():
            return
        self._open[frame.response_id] = span
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)[1].end()
