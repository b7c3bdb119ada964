"""The broker that every other integration test uses."""

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from devtools.kafka import VERSION, LocalKafka, LocalKafkaFailed, jars_directory, shared_classes
from support.waiting import eventually
from topics.specs import TopicNames


async def write(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_record_written_is_read_again(kafka: LocalKafka, topic_names: TopicNames) -> None:
    await write(kafka.bootstrap, topic_names.tokens, b"one")
    assert await read(kafka.bootstrap, topic_names.tokens, 1) == [b"one"]


def test_a_start_uses_what_was_made_once_for_it(kafka: LocalKafka) -> None:
    assert shared_classes(jars_directory()).exists(), "run `make kafka`"
    log = kafka.log.read_text()
    assert "Formatting" not in log
    assert "shared archive" not in log


async def test_what_was_written_survives_a_kill_on_the_same_port(
    bare_kafka: Callable[..., Awaitable[LocalKafka]], make_topics: Callable[..., Awaitable[TopicNames]]
) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    await write(broker.bootstrap, names.tokens, b"before")
    broker.kill()
    await broker.start()
    await write(broker.bootstrap, names.tokens, b"after")
    assert await read(broker.bootstrap, names.tokens, 2) == [b"before", b"after"]


async def test_a_paused_broker_answers_nothing_until_it_is_resumed(
    bare_kafka: Callable[..., Awaitable[LocalKafka]], make_topics: Callable[..., Awaitable[TopicNames]]
) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    await write(broker.bootstrap, names.tokens, b"before")
    broker.pause()
    writing = asyncio.create_task(write(broker.bootstrap, names.tokens, b"after"))
    done, _ = await asyncio.wait({writing}, timeout=0.5)
    assert not done
    broker.resume()
    await writing
    assert await read(broker.bootstrap, names.tokens, 2) == [b"before", b"after"]


async def test_a_stop_frees_the_port_and_a_close_removes_the_data() -> None:
    async with LocalKafka() as broker:
        pid, data = broker.pid, broker.data
        await broker.stop()
        assert not psutil.pid_exists(pid)
        assert data.exists()
        await broker.start()
        assert broker.pid != pid
    assert not data.exists()


async def test_a_failed_start_shows_the_end_of_the_log() -> None:
    broker = LocalKafka(extra_properties={"log.retention.hours": "never"})
    with pytest.raises(LocalKafkaFailed, match=r"(?s)ended with code 1.*Invalid value never"):
        await broker.start()
    await broker.close()


async def test_without_the_jars_it_is_said_how_to_get_them(tmp_path: Path) -> None:
    broker = LocalKafka(jars=tmp_path, data=tmp_path / "data")
    with pytest.raises(LocalKafkaFailed, match=r"run `make kafka`"):
        await broker.start()


async def test_the_broker_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devtools.kafka", "--port", "0", "--data", str(tmp_path)]
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout
    assert b"Ctrl-C stops it" in await parent.stdout.readline()
    (broker,) = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE)


async def test_ctrl_c_stops_a_broker_in_the_foreground(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devtools.kafka", "--port", "0", "--data", str(tmp_path)]
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout
    await parent.stdout.readline()
    (broker,) = psutil.Process(parent.pid).children(recursive=True)
    parent.send_signal(signal.SIGINT)
    assert await parent.wait() == 0
    assert not broker.is_running()


def test_the_version_is_that_of_the_pom() -> None:
    pom = Path(__file__).parents[2] / "deploy" / "kafka" / "pom.xml"
    assert set(re.findall(r"<artifactId>kafka.*?</artifactId>\s*<version>(.*?)</version>", pom.read_text())) == {
        VERSION
    }
