"""Spans of responses: one each, in the producer's trace, ended with the response; and none without an SDK."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
)

from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.telemetry.spans import ResponseSpans
from topics.codec import Decoder

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Seen(NonRecordingSpan):
    """A span that remembers what was done to it."""

    def __init__(self, name: str, parent: SpanContext) -> None:
        super().__init__(SpanContext(parent.trace_id, 1, is_remote=False, trace_flags=TraceFlags.get_default()))
        self.name, self.parent = name, parent
        self.events: list[str] = []
        self.code: StatusCode | None = None
        self.ended = False

    def is_recording(self) -> bool:
        return True

    def add_event(self, name: str, *_: Any, **__: Any) -> None:
        self.events.append(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self.code = status.status_code if isinstance(status, Status) else status

    def end(self, end_time: int | None = None) -> None:
        self.ended = True


class RecordingTracer(Tracer):
    def __init__(self) -> None:
        self.spans: list[Seen] = []

    def start_span(
        self, name: str, context: Context | None = None, kind: SpanKind = SpanKind.INTERNAL, *_: Any, **__: Any
    ) -> Seen:
        self.spans.append(Seen(name, get_current_span(context).get_span_context()))
        return self.spans[-1]

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def record(offset: int, value: str, headers: Sequence[tuple[str, bytes]] = ()) -> Any:
    return SimpleNamespace(offset=offset, timestamp=1, key=b"k", value=value.encode(), headers=headers)


def frames(status: str = "stop") -> Iterator[Frame]:
    """What the core makes of a traced response."""
    pipeline = PartitionPipeline(Decoder(None), Limits())
    pipeline.begin(0, 0, clean=True)
    trace = (("traceparent", f"00-{TRACE}-{PARENT}-01".encode()), ("other", b"\xff"))
    records = [
        record(0, '{"event":"start","responseId":"r","seq":0,"channel":"c"}', trace),
        record(1, '{"event":"token","responseId":"r","seq":1,"text":"a"}'),
        record(2, f'{{"event":"stop","responseId":"r","seq":2,"reason":"{status}"}}'),
    ]
    pipeline.consume(records, 3, 0.0)
    while (taken := pipeline.next_frame("c", 0.0)) is not None:
        assert isinstance(taken, Frame)
        yield taken
        pipeline.done(taken, 1.0)


def test_a_response_has_one_span_in_the_trace_its_producer_named() -> None:
    tracer = RecordingTracer()
    spans = ResponseSpans(tracer)
    for frame in frames():
        spans.acknowledged(frame)
    (span,) = tracer.spans
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert (span.events, span.code, span.ended) == (["first token"], StatusCode.OK, True)


def test_a_response_that_failed_marks_its_span() -> None:
    tracer = RecordingTracer()
    spans = ResponseSpans(tracer)
    for frame in frames("error"):
        spans.acknowledged(frame)
    assert tracer.spans[0].code is StatusCode.ERROR


def test_what_is_given_up_ends_its_spans() -> None:
    tracer = RecordingTracer()
    spans = ResponseSpans(tracer)
    spans.acknowledged(next(frames()))
    assert not tracer.spans[0].ended
    spans.close()
    assert tracer.spans[0].ended
    assert tracer.spans[0].code is None


def test_without_an_sdk_nothing_is_kept() -> None:
    spans = ResponseSpans()
    for frame in frames():
        spans.acknowledged(frame)
        assert not spans._open
