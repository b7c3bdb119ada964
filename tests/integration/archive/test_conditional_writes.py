"""Object storage that does not keep to conditional writes is refused when a store starts: small servers that speak enough of S3."""

import hashlib
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

import pytest
from aiohttp import web

from devtools.kafka import LocalKafka
from processor.archive.bucket import Bucket
from processor.archive.objects import ObjectStore
from processor.archive.opening import open_patiently
from processor.clock import Clock
from processor.errors import SettingsError
from processor.telemetry.metrics import Metrics
from support.commands import run_command
from topics.specs import TopicNames

URL = "s3://bucket"


class Conditions(Enum):
    KEPT = auto()
    IGNORED = auto()
    ONLY_CREATE_KEPT = auto()
    NOT_IMPLEMENTED = auto()
    FORBIDDEN = auto()
    """Every write is, as with the credentials of a reader."""


class SmallS3:
    """One bucket in memory: GET, PUT and DeleteObjects."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self.objects: dict[str, bytes] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._get)
        app.router.add_put("/{tail:.*}", self._put)
        app.router.add_post("/{tail:.*}", self._delete)
        return app

    async def _get(self, request: web.Request) -> web.Response:
        body = self.objects.get(request.path)
        if body is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        return web.Response(body=body, headers={"ETag": etag(body), "Last-Modified": "Thu, 26 Nov 2026 00:00:00 GMT"})

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._conditions is Conditions.FORBIDDEN:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        conditional = request.headers.keys() & {"If-None-Match", "If-Match"}
        if conditional and self._conditions is Conditions.NOT_IMPLEMENTED:
            return web.Response(status=501, text="<Error><Code>NotImplemented</Code></Error>")
        if conditional and self._conditions is not Conditions.IGNORED and self._fails(request):
            return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")
        self.objects[request.path] = body
        return web.Response(headers={"ETag": etag(body)})

    def _fails(self, request: web.Request) -> bool:
        there = self.objects.get(request.path)
        if "If-None-Match" in request.headers:
            return there is not None
        if self._conditions is Conditions.ONLY_CREATE_KEPT:
            return False
        return there is None or request.headers["If-Match"] != etag(there)

    async def _delete(self, request: web.Request) -> web.Response:
        """S3's DeleteObjects, which the client uses for a single one too."""
        keys = re.findall(r"<Key>(.*?)</Key>", await request.text())
        for key in keys:
            self.objects.pop(f"{request.path.rstrip('/')}/{key}", None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        return web.Response(text=f"<DeleteResult>{deleted}</DeleteResult>", content_type="application/xml")


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


@asynccontextmanager
async def serving(conditions: Conditions) -> AsyncIterator[dict[str, str]]:
    """Gives the options that lead a client to the server."""
    runner = web.AppRunner(SmallS3(conditions).app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield {
            "AWS_ENDPOINT": f"http://127.0.0.1:{runner.addresses[0][1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
    finally:
        await runner.cleanup()


def store_at(options: dict[str, str]) -> ObjectStore:
    return ObjectStore(URL, clock=Clock(), bucket=Bucket(URL, options))


@pytest.mark.parametrize("conditions", [Conditions.KEPT, Conditions.FORBIDDEN])
async def test_a_service_that_writes_nothing_wrong_is_taken(conditions: Conditions) -> None:
    async with serving(conditions) as options:
        await store_at(options).start()


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (Conditions.IGNORED, "ignores their condition"),
        (Conditions.ONLY_CREATE_KEPT, "ignores their condition"),
        (Conditions.NOT_IMPLEMENTED, "does not take them"),
    ],
)
async def test_a_service_without_conditional_writes_is_refused(conditions: Conditions, said: str) -> None:
    async with serving(conditions) as options:
        with pytest.raises(SettingsError, match=f"STORE_URL: .*conditional writes.*{said}"):
            await open_patiently(store_at(options), Metrics())


async def run(options: dict[str, str], *command: str, **settings: str) -> tuple[int | None, str]:
    environment = options | {f"TOKENSTREAM_{name}": value for name, value in settings.items()}
    return await run_command(sys.executable, "-m", "processor", *command, environment=environment)


async def test_a_command_that_is_refused_exits_with_2_and_one_line() -> None:
    async with serving(Conditions.IGNORED) as options:
        code, output = await run(options, "responses", "list", "chat:1", STORE_URL=URL)
    assert code == 2
    assert output.startswith("STORE_URL: s3://bucket needs conditional writes")
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("role", ["api", "archive"])
async def test_a_role_that_is_refused_exits_with_2(role: str, kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with serving(Conditions.IGNORED) as options:
        code, output = await run(
            options,
            role,
            STORE_URL=URL,
            HTTP_PORT="0",
            HTTP_HOST="127.0.0.1",
            KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap,
            TOKENS_TOPIC=topic_names.tokens,
            RESPONSES_TOPIC=topic_names.responses,
            DEAD_LETTERS_TOPIC=topic_names.dead_letters,
            CONTROLS_TOPIC=topic_names.controls,
        )
    assert code == 2
    assert "STORE_URL: s3://bucket needs conditional writes" in output
    assert "Traceback" not in output


async def test_doctor_has_a_failing_row_for_it() -> None:
    async with serving(Conditions.IGNORED) as options:
        code, output = await run(options, "doctor", "--json", STORE_URL=URL, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert code == 1
    assert "needs conditional writes" in output
    assert "Traceback" not in output
