"""`tokenstream relay --processes N`: one group, N processes, one start and one end."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil

from conftest import MakeTopics
from devtools.children import Child
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import PROGRAM
from processor.config.loading import load_settings
from processor.service.processes import end_with, environments, exit_code
from support.waiting import eventually


@asynccontextmanager
async def two_relays(lab: Lab, log: Path) -> AsyncIterator[Child]:
    environment = lab.environment(HTTP_PORT="0", HTTP_HOST="127.0.0.1")
    process = Child("Two relays", *PROGRAM, "relay", "--processes", "2", log=log, environment=environment)
    await process.start()
    try:
        yield process
    finally:
        await process.kill()


def relays_of(process: Child) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


async def both_relays(process: Child) -> list[psutil.Process]:
    await eventually(lambda: len(relays_of(process)) == 2, deadline=60)
    return relays_of(process)


async def test_two_processes_share_the_partitions_and_stop_clean(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab, two_relays(lab, tmp_path / "log") as process:
        await lab.stream(responses=12, tokens=30, channels=6)
        await lab.all_finished()
        assert len(relays_of(process)) == 2
        assert await connections_of(lab) >= 2
        assert await process.stop(100) == 0, process.tail()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict


async def connections_of(lab: Lab) -> int:
    """Publishers that were seen by the realtime server."""
    return len({message.connection_id for messages in lab.realtime.log.values() for message in messages})


async def test_one_that_ends_ends_all_and_a_killed_parent_leaves_none(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        async with two_relays(lab, tmp_path / "log") as process:
            relays = await both_relays(process)
            relays[0].send_signal(signal.SIGKILL)
            assert await process.ended(100) == 1
            assert not any(relay.is_running() for relay in relays)
        async with two_relays(lab, tmp_path / "log") as process:
            relays = await both_relays(process)
            await process.kill()
            await eventually(lambda: not psutil.wait_procs(relays, timeout=0)[1], deadline=100)


def test_a_relay_whose_parent_was_killed_before_they_were_tied_does_not_start() -> None:
    program = (sys.executable, "-c", "print('started')")
    mine = subprocess.run(program, capture_output=True, preexec_fn=partial(end_with, os.getpid()), check=False)
    orphan = subprocess.run(program, capture_output=True, preexec_fn=partial(end_with, os.getppid()), check=False)
    assert (mine.returncode, mine.stdout) == (0, b"started\n")
    assert (orphan.returncode, orphan.stdout) == (1, b"")


def test_each_process_has_its_own_port_and_member_id() -> None:
    environ = {
        "TOKENSTREAM_ABLY_KEY": "a.b:c",
        "TOKENSTREAM_HTTP_PORT": "9000",
        "TOKENSTREAM_KAFKA_GROUP_INSTANCE_ID": "host",
    }
    first, second = environments(load_settings(environ), environ, 2)
    assert (first["TOKENSTREAM_HTTP_PORT"], second["TOKENSTREAM_HTTP_PORT"]) == ("9000", "9001")
    assert second["TOKENSTREAM_KAFKA_GROUP_INSTANCE_ID"] == "host-1"


def test_what_differs_replaces_the_file_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9000")
    (tmp_path / "member").write_text("host")
    environ = {
        "TOKENSTREAM_ABLY_KEY": "a.b:c",
        "TOKENSTREAM_HTTP_PORT_FILE": str(tmp_path / "port"),
        "TOKENSTREAM_KAFKA_GROUP_INSTANCE_ID_FILE": str(tmp_path / "member"),
    }
    second = load_settings(environments(load_settings(environ), environ, 2)[1])
    assert (second.http_port, second.kafka_group_instance_id) == (9001, "host-1")


def test_exit_codes() -> None:
    assert exit_code(0, [0, 0], asked=True) == 0
    assert exit_code(0, [0, 1], asked=True) == 1
    assert exit_code(2, [2, 0], asked=False) == 2
    assert exit_code(0, [0, 0], asked=False) == 1
    assert exit_code(-9, [-9, 0], asked=False) == 1
