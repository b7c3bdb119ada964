"""The README's pieces, run as they stand there."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from support.lab import ROOT, laboratory
from support.waiting import eventually

README = (ROOT / "README.md").read_text()


def snippet(name: str) -> str:
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no {name}"
    return found.group(1)


async def test_a_repeat_after_the_stop_changes_nothing_for_the_reader() -> None:
    script = str(ROOT / "tests" / "js" / "readme_repeats.mjs")
    environment = {**os.environ, "READER": snippet("reader")}
    reading = await asyncio.create_subprocess_exec("node", script, env=environment, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        printed, _ = await reading.communicate()
    open_one, ended = printed.decode().splitlines()
    assert json.loads(open_one) == {"text": "Hello world", "status": "streaming"}
    assert json.loads(ended) == {"text": "Hello world", "status": "complete"}


async def test_producer_and_reader_work_as_written(kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        await lab.relay()
        program = snippet("producer").replace('"localhost:9092"', f'"{kafka.bootstrap}", topic="{lab.names.tokens}"')
        (tmp_path / "produce.py").write_text(program)
        reader = ROOT / "tests" / "js" / "readme-reader.mjs"
        environment = {
            **os.environ,
            "READER": snippet("reader"),
            "PORT": str(lab.realtime.port),
            "PYTHONPATH": str(ROOT),
        }
        reading = await asyncio.create_subprocess_exec(
            "node", str(reader), cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
        )
        assert reading.stdout is not None
        assert (await reading.stdout.readline()).strip() == b"subscribed"
        producing = await asyncio.create_subprocess_exec(
            sys.executable, str(tmp_path / "produce.py"), cwd=tmp_path, env=environment
        )
        assert await producing.wait() == 0
        await eventually(lambda: lab.finished() == 1, deadline=20)
        async with asyncio.timeout(20):
            text, _ = await reading.communicate()
        assert text.decode().strip() == "complete Hello, world!"
