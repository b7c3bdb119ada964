import json
from typing import Any

from processor.bridge.reading import StreamReader
from support.openai_feed import USAGE, chat, delta, finish, text, tool, tools


def stream(*values: Any) -> StreamReader:
    reader = StreamReader("r-1", "chat:42")
    for value in values:
        reader.read(data(value))
    return reader


def data(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def test_a_stream_is_a_start_its_tokens_and_a_stop() -> None:
    reader = StreamReader("r-1", "chat:42")
    values = [chat(delta({"role": "assistant"}), model="m"), text("Hi"), finish(), chat(usage=USAGE), b"[DONE]"]
    records = [record for value in values for record in reader.read(data(value)).records]
    assert [record.event for record in records] == ["start", "token", "stop"]
    assert (records[0].channel, records[0].metadata) == ("chat:42", {"model": "m"})
    assert (records[2].reason, records[2].usage) == ("stop", USAGE)
    assert reader.ended
    assert reader.finish() == ()


def test_each_chunk_is_given_back() -> None:
    reader = StreamReader("r-1", "chat:42")
    assert reader.read(data(text("Hi"))).fields == text("Hi")
    assert reader.read(b"[DONE]").fields is None
    assert reader.read(b"<html>").fields is None


def test_a_finish_without_usage_is_an_end() -> None:
    (stop,) = stream(text("Hi"), finish("length")).finish()
    assert (stop.reason, stop.error) == ("length", None)


def test_a_stream_that_was_cut_off_is_incomplete() -> None:
    (stop,) = stream(text("Hi")).finish()
    assert stop.reason == "error"
    assert stop.error is not None
    assert stop.error["code"] == "incomplete"


def test_an_empty_stream_has_a_start_and_an_end() -> None:
    start, stop = StreamReader("r-1", "chat:42").finish()
    assert (start.event, start.channel) == ("start", "chat:42")
    assert (stop.reason, stop.error and stop.error["code"]) == ("error", "incomplete")


def test_a_failure_keeps_the_calls_that_waited_for_a_name() -> None:
    records = stream(tools(tool('{"a":', index=0, id="c1"))).fail("upstream_error", "gone")
    assert [(record.event, record.text) for record in records] == [("token", '{"a":'), ("stop", None)]
    assert records[1].error == {"code": "upstream_error", "message": "gone"}


def test_an_error_chunk_ends_it_with_its_own_code() -> None:
    reader = StreamReader("r-1", "chat:42")
    reader.read(data(text("Hi")))
    (stop,) = reader.read(data({"error": {"code": 429, "message": "slow down"}})).records
    assert stop.error == {"code": "429", "message": "slow down"}
    assert reader.error == stop.error
    assert reader.fail("upstream_error", "gone") == ()


def test_nothing_comes_after_the_end() -> None:
    reader = stream(text("Hi"), finish(usage=USAGE))
    assert reader.read(data(text("more"))).records == ()
