"""The tools against real Kafka and the real SDK: what is produced is followed, as readers get it."""

import asyncio
import json
import signal
from pathlib import Path

from conftest import MakeTopics
from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.terminal import Terminal, start
from support.command_line import tokenstream
from support.waiting import eventually

TEXT = "Hello wörld 日本語 👩‍👩‍👧\n second line \x1b[31m\n"


def settings(lab: Lab, directory: Path) -> dict[str, str]:
    return lab.environment(STORE_URL=f"sqlite:///{directory / 'store.db'}")


async def test_what_is_produced_is_seen_whole_by_whoever_follows(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        await lab.relay()
        environment = settings(lab, tmp_path)
        following = asyncio.create_task(
            tokenstream("tail", "chat:7", "--count", "2", "--history", "--json", environment=environment)
        )
        one = asyncio.create_task(tokenstream("tail", "chat:7", "--response", "r-2", environment=environment))
        metadata = json.dumps({"model": "m"})
        first = await tokenstream(
            *("produce", "--channel", "chat:7", "--response-id", "r-1", "--metadata", metadata),
            given=TEXT,
            environment=environment,
        )
        assert first.out == "r-1\n"
        await tokenstream(
            "produce", "--channel", "chat:7", "--response-id", "r-2", "--lines", given=TEXT, environment=environment
        )
        seen = (await following).json
        for response_id in ("r-1", "r-2"):
            mine = [line for line in seen if line["responseId"] == response_id]
            assert "".join(line["text"] for line in mine if line["happening"] == "text") == TEXT
            assert (mine[-1]["happening"], mine[-1]["status"], mine[-1]["verified"]) == ("stop", "complete", True)
        lines = (await one).out.splitlines()
        assert all(line.startswith("r-2 ") for line in lines)
        assert lines[-1].startswith("r-2 stop status='complete'")


async def test_what_can_not_be_produced_is_refused_in_a_sentence(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        done = await tokenstream("produce", "--channel", ":no", given="a", environment=settings(lab, tmp_path))
        assert done.code == 1
        assert done.err == "tokenstream: This can't be produced: channel is empty or begins with [ or :.\n"


async def test_following_ends_cleanly_when_it_is_interrupted(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        process = await start("tail", "chat:0", environment=settings(lab, tmp_path))
        await lab.relay()
        streaming = asyncio.create_task(lab.stream(responses=1, tokens=2_000, channels=1, pause=0.02))
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert (await process.stdout.readline()).startswith(b"s0-r0 ")
        url = f"127.0.0.1:{lab.processes[0].port}"
        top = await tokenstream(
            "top", url, "--every", "0.5", "--count", "1", "--json", environment=settings(lab, tmp_path)
        )
        assert top.json[0]["openResponses"] == 1
        assert top.json[0]["perSecond"]["tokens"] > 0
        streaming.cancel()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            _, errors = await process.communicate()
        await asyncio.wait({streaming})
        assert (process.returncode, errors) == (0, b"")


async def test_a_terminal_shows_each_response_in_a_lane_of_its_own(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    with Terminal() as terminal:
        async with laboratory(kafka.bootstrap, await make_topics()) as lab:
            process = await start("tail", "chat:0", environment=settings(lab, tmp_path), terminal=terminal.slave)
            await lab.relay()
            streaming = asyncio.create_task(lab.stream(responses=2, tokens=2_000, channels=1, pause=0.02))

            def lanes() -> bool:
                shown = terminal.shown()
                return "─ s0-r0 · streaming · " in shown and "─ s0-r1 · streaming · " in shown

            await eventually(lanes, deadline=40)
            streaming.cancel()
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                assert await process.wait() == 0
            await asyncio.wait({streaming})


async def test_what_can_not_be_reached_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = await tokenstream("top", f"127.0.0.1:{free_port()}", "--count", "1", environment={})
    assert (done.code, done.err.count("\n"), "is a process up there?" in done.err) == (1, 1, True)


async def test_a_refused_key_is_told_in_a_sentence(kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        environment = {**settings(lab, tmp_path), "TOKENSTREAM_ABLY_KEY": "local.key:wrong"}
        done = await tokenstream("tail", "chat:0", environment=environment)
        assert done.code == 1
        assert done.err.startswith("tokenstream: Channel chat:0 can't be followed: ")
        assert done.err.count("\n") == 1
        assert "wrong" not in done.err
