"""The transport `direct` as a whole: producer, relay, archive and gateway as processes, and readers over HTTP."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from devtools.direct_lab import DirectLab, direct_lab
from devtools.event_readers import StreamReader, stream_events
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess
from devtools.produced import Produced
from support.direct_lab import all_have, reading, restarted
from support.waiting import eventually
from topics.producer import TokenProducer

CHANNELS = 4


@pytest.fixture
async def lab(kafka: LocalKafka, topics_prefix: str, tmp_path: Path) -> AsyncIterator[DirectLab]:
    async with direct_lab(kafka.bootstrap, topics_prefix, tmp_path) as lab:
        yield lab


def readers_of(count: int, *gateways: TokenstreamProcess) -> list[StreamReader]:
    """Of all channels each, so that every reader has every text."""
    ports = [gateway.port for gateway in gateways]
    params = tuple(("channel", f"chat:{number}") for number in range(CHANNELS))
    return [
        StreamReader("/v1/events", ports[turn % len(ports) :] + ports[: turn % len(ports)], params)
        for turn in range(count)
    ]


async def test_one_process_streams_to_readers(lab: DirectLab) -> None:
    process = await lab.relay(role="run")
    channel = [StreamReader(f"/v1/channels/chat%3A{number}/events", [process.port]) for number in range(CHANNELS)]
    every = readers_of(2, process)
    async with reading(*channel, *every):
        await eventually(lambda: all("ready" in reader.state.names for reader in channel + every))
        await lab.stream(responses=8, tokens=30, channels=CHANNELS, parts=True)
        await all_have(every, lab.texts())
        for number, reader in enumerate(channel):
            mine = {each.response_id for each in lab.produced if each.channel == f"chat:{number}"}
            await all_have([reader], {key: texts for key, texts in lab.texts().items() if key in mine})
    assert all(reader.state.reader.counts.repeats == 0 for reader in channel + every)
    assert await process.stop() == 0


@pytest.mark.long  # two rows of the fault lab show the same
async def test_texts_are_whole_though_relays_and_gateways_are_killed(lab: DirectLab) -> None:
    relay, gateway, other = await asyncio.gather(
        lab.relay(),
        lab.relay(role="gateway"),
        lab.relay(role="gateway"),
    )
    await lab.relay(role="archive", ready=False)
    readers = readers_of(12, gateway, other)
    async with reading(*readers):
        async with lab.streaming(responses=8, channels=CHANNELS, parts=True, pause=0.02):
            await eventually(lambda: all("token" in reader.state.names for reader in readers), deadline=40)
            await restarted(gateway)
            await restarted(relay)
            await restarted(other)
        await all_have(readers, lab.texts())
    late = readers_of(1, other)
    async with reading(*late):
        await all_have(late, lab.texts())


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_five_hundred_readers_outlast_repeated_kills(lab: DirectLab) -> None:
    relay, gateway, other = await asyncio.gather(lab.relay(), lab.relay(role="gateway"), lab.relay(role="gateway"))
    await lab.relay(role="archive", ready=False)
    readers = readers_of(500, gateway, other)
    async with reading(*readers):
        async with lab.streaming(responses=8, channels=CHANNELS, parts=True, pause=0.05):
            await eventually(lambda: all("token" in reader.state.names for reader in readers), deadline=120)
            for _ in range(3):
                for process in (gateway, relay, other):
                    await restarted(process)
        await all_have(readers, lab.texts(), deadline=240)


async def test_a_slow_reader_delays_nobody_and_is_reset(lab: DirectLab) -> None:
    process = await lab.relay(role="run", DIRECT_CHANNEL_RATE="0", MAX_RESPONSE_BYTES="16777216")
    (quick,) = readers_of(1, process)
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**10)
    async with session, reading(quick):
        await eventually(lambda: "ready" in quick.state.names)
        url = f"http://127.0.0.1:{process.port}/v1/channels/chat%3A0/events"
        async with session.get(url) as answer:
            async with lab_response(lab, "big") as give:
                for _ in range(300):
                    await give("x" * 10_000)
                await eventually(lambda: len(quick.state.text("big")) >= 3_000_000, deadline=60)
            assert await process.metric("tokenstream_gateway_clients") == 2
            slow = StreamReader("", [])
            async for event in stream_events(answer):
                slow.state.take([event])
                if slow.texts({"big"}):
                    break
        assert "reset" in slow.state.names
        assert slow.texts({"big"}) == lab.texts()
        await all_have([quick], lab.texts())
        assert await process.metric("tokenstream_gateway_resets_total") >= 1


async def test_a_reader_that_comes_back_late_gets_what_ended_meanwhile(lab: DirectLab) -> None:
    process = await lab.relay(role="run", GATEWAY_MAX_BUFFERED_BYTES="20000")
    (reader,) = readers_of(1, process)
    async with reading(reader):
        await lab.stream(responses=2, tokens=5, channels=CHANNELS)
        await all_have([reader], lab.texts())
    before = len(reader.state.names)
    await lab.stream(responses=8, tokens=30, channels=CHANNELS, seed=1)
    await eventually(lambda: finished(lab, process), deadline=30)
    async with reading(reader):
        await all_have([reader], lab.texts())
    assert "snapshot" in reader.state.names[before:]


async def finished(lab: DirectLab, process: TokenstreamProcess) -> bool:
    return await process.metric("tokenstream_responses_finished_total") >= len(lab.produced)


async def test_one_response_can_be_read_in_three_formats(lab: DirectLab) -> None:
    process = await lab.relay(role="run")
    async with aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{process.port}/v1/responses/answer/events"
        async with lab_response(lab, "answer") as give:
            await give("Hel")
            await eventually(lambda: found(session, base), deadline=30)
            open_streams = [
                await session.get(f"{base}?format={name}") for name in ("openai", "ui-message", "tokenstream")
            ]
            await give("lo")
        openai, ui, own = [(await answer.read()).decode() for answer in open_streams]
        lines = [line.removeprefix("data: ") for line in openai.split("\n") if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        chunks = [json.loads(line) for line in lines[:-1]]
        text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
        assert text == "Hello"
        assert open_streams[1].headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert '"type":"finish"' in ui
        assert own.count("event: stop") == 1
        assert open_streams[2].headers["Cache-Control"] == "no-store"
        assert open_streams[2].headers["X-Accel-Buffering"] == "no"
        async with session.get(base) as finished_stream:
            assert (await finished_stream.read()).count(b"event: snapshot") == 1
        async with session.get(base.replace("answer", "other")) as unknown:
            assert unknown.status == 404


@contextlib.asynccontextmanager
async def lab_response(lab: DirectLab, response_id: str) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Gives a function that produces one more token of the response."""
    produced = Produced(response_id, "chat:0", {"text": ""})
    lab.produced.append(produced)
    async with (
        TokenProducer(lab.bootstrap, topic=lab.names.tokens) as producer,
        producer.response(channel="chat:0", response_id=response_id) as response,
    ):

        async def give(text: str) -> None:
            await response.token(text)
            produced.add("text", text)

        yield give


async def found(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(url, headers={"Connection": "close"}) as answer:
        return answer.status == 200


async def test_readers_get_bye_when_the_gateway_stops(lab: DirectLab) -> None:
    process = await lab.relay(role="run", DRAIN_TIMEOUT="20")
    several = readers_of(3, process)
    channel = StreamReader("/v1/channels/chat%3A0/events", [process.port])
    one = StreamReader("/v1/responses/answer/events", [process.port])
    base = f"http://127.0.0.1:{process.port}/v1/responses/answer/events"
    async with aiohttp.ClientSession() as session, lab_response(lab, "answer") as give:
        await give("Hel")
        await eventually(lambda: found(session, base), deadline=30)
        async with session.get(f"{base}?format=openai") as openai, reading(*several, channel, one):
            await eventually(lambda: all("ready" in reader.state.names for reader in (*several, channel)))
            await eventually(lambda: "Hel" in one.state.text("answer"))
            process.signal(signal.SIGTERM)
            assert await process.ended(20.0) == 0, process.tail()
            await eventually(lambda: all("bye" in reader.state.names for reader in (*several, channel, one)))
            assert "[DONE]" not in (await openai.read()).decode()
    assert errors_of(process) == []


async def test_a_reader_that_takes_nothing_does_not_delay_a_stop(lab: DirectLab) -> None:
    process = await lab.relay(role="run", DRAIN_TIMEOUT="10", DIRECT_CHANNEL_RATE="0", MAX_RESPONSE_BYTES="16777216")
    url = f"http://127.0.0.1:{process.port}/v1/channels/chat%3A0/events"
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**10)
    (quick,) = readers_of(1, process)
    async with session, session.get(url), reading(quick), lab_response(lab, "big") as give:
        for _ in range(800):
            await give("x" * 10_000)
        await eventually(lambda: len(quick.state.text("big")) >= 8_000_000, deadline=60)
        process.signal(signal.SIGTERM)
        assert await process.ended(10.0) == 0, process.tail()
        await eventually(lambda: "bye" in quick.state.names)
    assert errors_of(process) == []


def errors_of(process: TokenstreamProcess) -> list[str]:
    """What was logged as an error since the stop was asked for."""
    _, _, log = process.log.read_text().partition('"event":"stopping"')
    lines = log.splitlines()[1:]
    return [line for line in lines if not line.startswith("{") or json.loads(line)["level"] in ("error", "critical")]
