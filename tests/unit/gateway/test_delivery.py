"""What a reader gets, in which order: snapshots, `ready`, live frames; after a reconnect exactly what it missed."""

import asyncio
import json

import pytest

from devtools.event_readers import EventReader
from processor.errors import StoreUnavailable
from processor.gateway.clients import MAX_QUEUE_BYTES, StreamState
from processor.gateway.formats import StreamFormat
from processor.gateway.positions import StreamPosition
from processor.gateway.resume import ResumeAfter, beginning
from processor.ports.store import Page
from support.gateway_log import logged, part, record_value, response_record, start, stop, token
from support.gateway_readers import Connection, Gateway, MemoryRecords
from support.waiting import eventually


def publish(gateway: Gateway, *values: bytes, partition: int = 0) -> None:
    first = gateway.hub.buffer.ends[partition] + 1
    gateway.hub.take_frames(logged(list(values), partition=partition, first=first), 5_000)


def finish(gateway: Gateway, value: bytes) -> None:
    gateway.hub.take_responses([response_record(value, json.loads(value)["responseId"])], 5_000)


async def live(connection: Connection) -> None:
    await eventually(lambda: connection.client.state is StreamState.LIVE)


async def test_an_empty_channel_is_ready_at_once() -> None:
    async with Connection(Gateway(), "chat:1") as connection:
        await live(connection)
        assert connection.names() == ["ready"]


async def test_open_and_finished_responses_come_before_ready_and_frames_after() -> None:
    gateway = Gateway()
    gateway.store.put(record_value("old", "Bye", seq=2, status="complete"))
    publish(gateway, start(), token(1, 0, "Hel"))
    async with Connection(gateway, "chat:1") as connection:
        await live(connection)
        publish(gateway, token(2, 3, "lo"), stop(3, {"text": "Hello"}))
        assert connection.names() == ["snapshot", "snapshot", "ready", "token", "stop"]
        reader = EventReader()
        reader.take(connection.read())
        assert (reader.text("old"), reader.text("r1")) == ("Bye", "Hello")
        assert reader.reader.responses["r1"].verified


async def test_a_snapshot_shows_what_the_api_shows() -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "Hel"))
    async with Connection(gateway, "chat:1") as connection:
        await live(connection)
        record = connection.read()[0].data["data"]
        assert record["text"] == "Hel"
        assert len(record["parts"][0]["sha256"]) == 64


async def test_the_newest_finished_responses_come_up_to_the_limit() -> None:
    gateway = Gateway()
    for number in range(5):
        gateway.store.put(record_value(f"s{number}", "x", seq=1, status="complete", startedAt=number * 10))
    finish(gateway, record_value("m", "x", seq=1, status="complete", startedAt=25, finishedAt=5_000))
    async with Connection(gateway, "chat:1", limit=3) as connection:
        await live(connection)
        assert [event.data["headers"].get("responseId") for event in connection.read()[:-1]] == ["s4", "s3", "m"]


async def test_no_finished_response_comes_where_none_is_wanted() -> None:
    gateway = Gateway()
    gateway.store.put(record_value("s", "x", seq=1, status="complete"))
    finish(gateway, record_value("m", "x", seq=1, status="complete", finishedAt=5_000))
    async with Connection(gateway, "chat:1", limit=0) as connection:
        await live(connection)
        assert connection.names() == ["ready"]


async def test_frames_during_the_snapshots_are_neither_lost_nor_repeated() -> None:
    gateway = Gateway()
    publish(gateway, start("a"), token(1, 0, "one", "a"), start("b"))
    async with Connection(gateway, "chat:1") as connection:
        connection.wire.full = True
        await eventually(lambda: "snapshot" in connection.names())
        publish(gateway, token(2, 3, "two", "a"), token(1, 0, "uno", "b"))
        connection.wire.full = False
        await live(connection)
        publish(gateway, token(3, 6, "!", "a"))
        assert connection.names() == ["snapshot", "snapshot", "ready", "token", "token"]
        reader = EventReader()
        reader.take(connection.read())
        assert (reader.text("a"), reader.text("b")) == ("onetwo!", "uno")
        assert reader.reader.counts.repeats == 0


async def test_a_position_in_the_buffer_gives_exactly_what_came_after_it() -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "a"), token(2, 1, "b"))
    async with Connection(gateway, "chat:1", last_id=StreamPosition({0: 1}).encode()) as connection:
        await live(connection)
        publish(gateway, token(3, 2, "c"))
        assert [event.data["data"] for event in connection.read()] == ["b", "c"]


async def test_another_gateway_resumes_what_one_delivered() -> None:
    gateways = Gateway(), Gateway()
    for gateway in gateways:
        publish(gateway, start(), token(1, 0, "a"))
    async with Connection(gateways[0], "chat:1") as first:
        await live(first)
        publish(gateways[0], token(2, 1, "b"))
        last_id = first.read()[-1].id
    publish(gateways[1], token(2, 1, "b"), token(3, 2, "c"))
    async with Connection(gateways[1], "chat:1", last_id=last_id) as second:
        await live(second)
        assert [event.data["data"] for event in second.read()] == ["c"]


@pytest.mark.parametrize("last_id", [StreamPosition({0: -1}).encode(), "nonsense", StreamPosition({7: 1}).encode()])
async def test_a_position_outside_the_buffer_gives_snapshots_with_all_that_ended_lately(last_id: str) -> None:
    gateway = Gateway()
    publish(gateway, start())
    gateway.hub.clean(1_000_000)
    publish(gateway, token(1, 0, "a"))
    for number in range(3):
        value = record_value(f"m{number}", "x", seq=1, status="complete", startedAt=number, finishedAt=1_000_000)
        finish(gateway, value)
    async with Connection(gateway, "chat:1", last_id=last_id, limit=1) as connection:
        await live(connection)
        ids = [event.data["headers"].get("responseId") for event in connection.read()]
        assert sorted(ids[:-1]) == ["m0", "m1", "m2", "r1"]
        assert connection.names()[-1] == "ready"


async def test_a_connection_lost_among_the_snapshots_begins_with_them_again() -> None:
    gateway = Gateway()
    publish(gateway, start("a"), start("b"))
    async with Connection(gateway, "chat:1") as first:
        await live(first)
        last_id = first.read()[0].id
    async with Connection(gateway, "chat:1", last_id=last_id) as second:
        await live(second)
        assert second.names() == ["snapshot", "snapshot", "ready"]


async def test_several_channels_have_one_place_in_the_log() -> None:
    gateway = Gateway(partitions=2)
    places = {"x": 0, "y": 1}
    async with Connection(gateway, "x", "y", partition_of=places) as first:
        await live(first)
        publish(gateway, start("a", "x"), token(1, 0, "a", "a", "x"))
        publish(gateway, start("b", "y"), partition=1)
        last_id = first.read()[-1].id
    publish(gateway, token(1, 0, "b", "b", "y"), partition=1)
    publish(gateway, token(2, 1, "!", "a", "x"), start("c", "z"))
    async with Connection(gateway, "x", "y", partition_of=places, last_id=last_id) as second:
        await live(second)
        assert [event.data["data"] for event in second.read()] == ["b", "!"]


async def test_a_slow_reader_is_reset_and_delays_nobody() -> None:
    gateway = Gateway(buffer_bytes=8 * 1024 * 1024)
    async with Connection(gateway, "chat:1") as slow, Connection(gateway, "chat:1") as quick:
        await live(slow)
        await live(quick)
        slow.wire.full = True
        publish(gateway, start())
        text = "x" * 50_000
        for number in range(8):
            publish(gateway, token(number + 1, number * len(text), text))
        assert slow.client.state is StreamState.LAGGING
        assert slow.wire.queued() <= MAX_QUEUE_BYTES
        assert quick.names().count("token") == 8
        slow.wire.full = False
        await eventually(lambda: slow.names()[-1] == "ready")
        assert slow.names()[-3:] == ["reset", "snapshot", "ready"]
        await live(slow)
        publish(gateway, stop(9, {"text": text * 8}))
        reader = EventReader()
        reader.take(slow.read())
        assert reader.text() == text * 8
        assert reader.reader.responses["r1"].verified
        assert gateway.resets == 1


async def test_a_reader_that_falls_out_of_the_buffer_is_reset() -> None:
    gateway = Gateway(buffer_bytes=3_000)
    publish(gateway, start(), token(1, 0, "a"))
    async with Connection(gateway, "chat:1") as connection:
        connection.wire.full = True
        await eventually(lambda: "snapshot" in connection.names())
        publish(gateway, *(token(number, number - 1, "a") for number in range(2, 30)))
        connection.wire.full = False
        await live(connection)
        assert connection.names() == ["snapshot", "ready", "reset", "snapshot", "ready"]
        reader = EventReader()
        reader.take(connection.read())
        assert reader.text() == "a" * 29


async def test_records_of_the_log_that_were_never_read_reset_the_readers() -> None:
    gateway = Gateway()
    async with Connection(gateway, "chat:1") as connection:
        await live(connection)
        gateway.hub.skip_to(0, 50)
        await eventually(lambda: connection.names() == ["ready", "reset", "ready"])


async def test_a_store_that_is_down_ends_a_reset_reader_with_bye() -> None:
    gateway = Gateway()
    async with Connection(gateway, "chat:1") as connection:
        await live(connection)
        gateway.store.failure = StoreUnavailable("down")
        gateway.hub.skip_to(0, 50)
        await eventually(lambda: connection.task is not None and connection.task.done())
        assert connection.names() == ["ready", "reset", "bye"]
        assert str(connection.read()[-1].id).startswith("s"), "it needs snapshots when it comes back"


async def test_closing_says_bye_with_a_time_to_come_back() -> None:
    async with Connection(Gateway(), "chat:1") as connection:
        await live(connection)
        connection.delivery.close()
        await eventually(lambda: connection.task is not None and connection.task.done())
        assert connection.names() == ["ready", "bye"]
        assert b"retry: " in connection.wire.written


async def test_a_reader_goes_on_after_bye_where_it_was() -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "a"))
    async with Connection(gateway, "chat:1") as connection:
        await live(connection)
        publish(gateway, token(2, 1, "b"))
        connection.delivery.close()
        await eventually(lambda: connection.names()[-1] == "bye")
        last_id = connection.read()[-1].id
    publish(gateway, token(3, 2, "c"))
    async with Connection(gateway, "chat:1", last_id=last_id) as connection:
        await live(connection)
        assert [event.data["data"] for event in connection.read()] == ["c"]


@pytest.mark.parametrize("wanted", list(StreamFormat))
async def test_one_response_is_given_from_its_beginning_to_its_end(wanted: StreamFormat) -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "Hel"), start("other"))
    async with Connection(gateway, "chat:1", only="r1", wanted=wanted) as connection:
        await live(connection)
        publish(gateway, token(1, 0, "no", "other"), token(2, 3, "lo"), stop(3, {"text": "Hello"}))
        await eventually(lambda: connection.task is not None and connection.task.done())
        written = connection.wire.written.decode()
        assert "other" not in written
        if wanted is StreamFormat.TOKENSTREAM:
            assert connection.names() == ["snapshot", "token", "stop"]
        else:
            assert written.endswith("data: [DONE]\n\n")
            assert written.count("Hel") == 1


async def test_a_final_record_ends_a_response_whose_stop_never_comes() -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "Hel"))
    async with Connection(gateway, "chat:1", only="r1") as connection:
        await live(connection)
        finish(gateway, record_value(text="Hello", seq=3, status="complete", finishedAt=5_000))
        await eventually(lambda: connection.task is not None and connection.task.done())
        assert connection.names() == ["snapshot", "snapshot"]


async def test_a_text_out_of_memory_is_read_from_the_store() -> None:
    gateway = Gateway(transcript_bytes=10_000)
    publish(gateway, start("a"), token(1, 0, "x" * 9_000, "a"), start("b"), token(1, 0, "y" * 5_000, "b"))
    publish(gateway, token(2, 9_000, "z", "a"))
    gateway.store.put(record_value("a", "x" * 9_000, seq=1))
    async with Connection(gateway, "chat:1") as connection:
        await live(connection)
        reader = EventReader()
        reader.take(connection.read())
        assert reader.text("a") == "x" * 9_000 + "z"
        assert reader.text("b") == "y" * 5_000


async def test_an_open_response_that_only_the_store_knows_is_given() -> None:
    gateway = Gateway()
    gateway.store.put(record_value("quiet", "Hel", seq=1))
    async with Connection(gateway, "chat:1") as connection:
        await live(connection)
        assert [event.data["headers"].get("responseId") for event in connection.read()[:-1]] == ["quiet"]


async def test_records_of_the_store_are_asked_for_a_few_at_a_time() -> None:
    gateway = Gateway()
    asked = 0

    class Counting(MemoryRecords):
        most = 0

        async def hydrate(self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = 0) -> Page:
            nonlocal asked
            asked += 1
            Counting.most = max(Counting.most, asked)
            await asyncio.sleep(0.001)
            asked -= 1
            return await super().hydrate(channel, limit=limit, before=before)

    gateway.store = Counting()
    gateway.__post_init__()
    await asyncio.gather(*(gateway.snapshots.first_page("chat:1", 1) for _ in range(50)))
    assert Counting.most == 8


async def test_a_reader_whose_format_fails_costs_no_other_a_frame() -> None:
    gateway = Gateway()
    publish(gateway, start(), part(1, 0, "x", "p", "custom"))
    async with Connection(gateway, "chat:1", only="r1", wanted=StreamFormat.OPENAI) as failing:
        await live(failing)
        async with Connection(gateway, "chat:1") as other:
            await live(other)
            # Of a part, another kind than its first frame had.
            publish(gateway, part(2, 1, "y", "p", "tool_call"), token(3, 0, "z"))
            assert other.names()[-2:] == ["part", "token"]
            assert failing.client.state is not StreamState.LIVE


async def test_usage_of_any_values_ends_the_openai_format() -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "a"))
    async with Connection(gateway, "chat:1", only="r1", wanted=StreamFormat.OPENAI) as connection:
        await live(connection)
        publish(gateway, stop(2, {"text": "a"}, usage={"inputTokens": "12", "outputTokens": 2}))
        await eventually(lambda: connection.task is not None and connection.task.done())
        assert connection.read()[-1].data == "[DONE]"
        assert connection.read()[-2].data["usage"]["completion_tokens"] == 2


async def test_frames_that_leave_the_buffer_before_a_reader_resumes_are_no_hole() -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "a"), token(2, 1, "b"), token(3, 2, "c"))
    begin = beginning(StreamPosition({0: 1}).encode(), frozenset({0}), gateway.hub.buffer)
    assert isinstance(begin, ResumeAfter)
    connection = Connection(gateway, "chat:1")
    gateway.hub.buffer.trim(1_001)  # while the headers are sent
    publish(gateway, token(4, 3, "d"))
    serving = asyncio.create_task(connection.delivery.run_channels(begin, None, 20))
    await live(connection)
    connection.delivery.close()
    await serving
    assert connection.names() == ["reset", "snapshot", "ready", "bye"]


async def test_a_final_record_that_comes_before_the_stream_is_live_ends_it() -> None:
    gateway = Gateway()
    publish(gateway, start(), token(1, 0, "a"))
    async with Connection(gateway, "chat:1", only="r1", wanted=StreamFormat.OPENAI) as connection:
        connection.wire.full = True
        await eventually(lambda: connection.wire.written != b"")
        finish(gateway, record_value(text="ab", seq=3, status="failed", reason="error", finishedAt=5_000))
        connection.wire.full = False
        await eventually(lambda: connection.task is not None and connection.task.done())
        assert connection.read()[-1].data == "[DONE]"
