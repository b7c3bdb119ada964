"""Runs the commands and programs of the quickstarts unchanged."""

import asyncio
import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from conftest import MakeTopics
from deploy.chart.values import read_values
from devtools.direct_lab import direct_lab
from devtools.documents import CommandHelp, command_help
from devtools.emulator.auth import Key, Keyring, authorize_token
from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from devtools.lab import laboratory
from processor.api.capability import verified
from processor.config.settings import Settings
from support.lab import ROOT
from support.pages import FENCE
from support.snippets import OPERATOR, PRODUCER, WEB, snippet
from support.waiting import eventually

KEY = "app.key:" + "s" * 43


async def test_a_repeat_after_the_stop_changes_nothing_for_the_reader() -> None:
    script = str(ROOT / "tests" / "js" / "snippet_repeats.mjs")
    environment = {**os.environ, "READER": snippet(WEB, "reader")}
    reading = await asyncio.create_subprocess_exec("node", script, env=environment, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        printed, _ = await reading.communicate()
    open_one, ended = printed.decode().splitlines()
    assert json.loads(open_one) == {"text": "Hello world", "status": "streaming"}
    assert json.loads(ended) == {"text": "Hello world", "status": "complete"}


async def test_producer_and_reader_work_as_written(kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        await lab.relay()
        program = snippet(PRODUCER, "producer")
        program = program.replace('"localhost:9092"', f'"{kafka.bootstrap}", topic="{lab.names.tokens}"')
        (tmp_path / "produce.py").write_text(program)
        reader = ROOT / "tests" / "js" / "snippet_reader.mjs"
        environment = {
            **os.environ,
            "READER": snippet(WEB, "reader"),
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


async def test_the_command_line_produces_and_curl_reads(kafka: LocalKafka, topics_prefix: str, tmp_path: Path) -> None:
    async with direct_lab(kafka.bootstrap, topics_prefix, tmp_path) as lab:
        process = await lab.relay(role="run")
        curl = shlex.split(snippet(WEB, "curl").replace(":8484/", f":{process.port}/"))
        # On a loaded machine the gateway may refuse readers for a moment.
        patient = ("--fail", "--retry", "30", "--retry-all-errors", "--retry-delay", "1")
        reading = await asyncio.create_subprocess_exec(
            *curl, *patient, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert reading.stdout is not None
        try:
            async with asyncio.timeout(100):
                await _line_with(reading.stdout, "event: ready")
                produce = snippet(PRODUCER, "produce").replace("tokenstream ", f"{sys.executable} -m processor ")
                environment = {**os.environ, **lab.environment()}
                producing = await asyncio.create_subprocess_shell(produce, cwd=ROOT, env=environment)
                assert await producing.wait() == 0
                await _line_with(reading.stdout, "event: start")
                await _line_with(reading.stdout, "event: stop")
        finally:
            reading.kill()
            await reading.wait()


async def _line_with(stream: asyncio.StreamReader, wanted: str) -> None:
    while wanted not in (await stream.readline()).decode():
        assert not stream.at_eof(), f"the stream ended before `{wanted}`"


@pytest.mark.parametrize("language", ["Node", "Python"])
async def test_a_token_endpoint_signs_what_ably_and_the_api_accept(language: str, tmp_path: Path) -> None:
    suffix, command = {"Node": (".mjs", ["node"]), "Python": (".py", [sys.executable])}[language]
    program = tmp_path / f"server{suffix}"
    program.write_text(snippet(WEB, f"token endpoint in {language}"))
    async with _serving([*command, str(program)]) as port:
        token = await _fetched(f"http://127.0.0.1:{port}/token")
    key, capability = verified(token, [KEY])
    assert (key, dict(capability)) == ("app.key", {"chat:42": ["subscribe", "history"]})
    at_ably = authorize_token(Keyring(Key.parse(KEY)), token, time.time())
    assert at_ably.allows("subscribe", "chat:42")
    assert not at_ably.allows("publish", "chat:42")


@asynccontextmanager
async def _serving(command: Sequence[str]) -> AsyncIterator[int]:
    port = free_port()
    environment = {**os.environ, "ABLY_KEY": KEY, "PORT": str(port)}
    serving = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.DEVNULL)
    try:
        yield port
    finally:
        serving.kill()
        await serving.wait()


async def _fetched(url: str) -> str:
    """Returns the body once the server listens."""

    async def asked() -> str:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                assert response.headers["Content-Type"].startswith("application/jwt")
                return await response.text()
        except aiohttp.ClientConnectionError:
            return ""

    return await eventually(asked, deadline=30)


@pytest.mark.parametrize("name", ["page", "direct page"])
def test_a_page_bundles_with_the_client(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.js"
    page.write_text(snippet(WEB, name))
    command = [
        "node_modules/.bin/esbuild",
        str(page),
        "--bundle",
        "--format=esm",
        "--log-level=error",
        "--alias:@tokenstream/client=./clients/javascript/src/index.js",
        "--alias:ably=./node_modules/ably",
        f"--outfile={tmp_path / 'out.js'}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tokenstream" in (tmp_path / "out.js").read_text()


def test_the_producer_installs_without_the_relay() -> None:
    assert snippet(PRODUCER, "install") == "pip install .\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split("[")[0].split(">")[0] for requirement in project["dependencies"]}
    assert names == {"aiokafka", "msgspec", "orjson"}


def command_lines(page: str) -> Iterator[list[str]]:
    """Yields the words of every command in the page's blocks of code, those behind a pipe too."""
    for block in FENCE.finditer((ROOT / page).read_text()):
        language, *lines = block[0].replace("\\\n", " ").splitlines()[:-1]
        for line in lines if language in {"```", "```sh"} else ():
            yield from (words for part in line.split(" | ") if (words := shlex.split(part, comments=True)))


def known_command(words: Sequence[str]) -> CommandHelp:
    """Returns the command of the longest name that the words begin with."""
    known = {command.name: command for command in command_help() if command.runs}
    names = [" ".join(words[:count]) for count in range(len(words), 1, -1)]
    name = next((name for name in names if name in known), None)
    assert name is not None, f"no such command: {' '.join(words)}"
    return known[name]


@pytest.mark.parametrize("page", [OPERATOR, PRODUCER, WEB])
def test_every_tokenstream_command_and_option_on_a_page_exists(page: str) -> None:
    seen = 0
    for words in command_lines(page):
        if "tokenstream" not in words or words[0] in {"helm", "npm"}:
            continue
        typed = words[len(words) - 1 - words[::-1].index("tokenstream") :]
        command = known_command(typed)
        options = " ".join(option for option, _ in command.options)
        assert all(word in options for word in typed if word.startswith("--")), typed
        seen += 1
    assert seen >= 1


def test_every_file_and_chart_value_on_the_operators_page_exists() -> None:
    values, settings = {value.name for value in read_values()}, {row.name for row in Settings.describe()}
    for words in command_lines(OPERATOR):
        for flag, given in pairwise(words):
            if flag == "--file":
                assert (ROOT / given).exists(), given
            elif flag in {"--set", "--set-string"}:
                name = given.partition("=")[0]
                group, _, setting = name.partition(".")
                assert name in values or (group in {"settings", "secretValues"} and setting in settings), name
    assert [words[:2] for words in command_lines(OPERATOR)].count(["docker", "build"]) == 1


def test_the_client_installs_from_its_folder_and_bundles() -> None:
    folder = shlex.split(snippet(WEB, "npm"))[2].removeprefix("../tokenstream/")
    assert (ROOT / folder / "package.json").exists()
    assert shlex.split(snippet(WEB, "bundle"))[:3] == ["npx", "esbuild", "page.js"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 700
