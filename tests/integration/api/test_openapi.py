"""The server and its description agree: schemathesis drives one by the other."""

import subprocess
import sys
from pathlib import Path

import pytest

from devtools.stores import opened
from processor.api.app import ApiParts, make_app
from processor.telemetry.health import Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from support.api_server import tokens
from support.recorders import RecordingControls, RecordingTombstones
from support.records import START, entry
from topics.records import Status

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,negative_data_rejection"


@pytest.mark.timeout(300)
async def test_the_description_holds_for_whatever_is_asked(tmp_path: Path) -> None:
    import asyncio

    async with opened(f"sqlite:///{tmp_path}/s.db") as store:
        await store.upsert_batch(
            [entry(str(n), channel="0", offset=n, started_at=START + n, status=list(Status)[n % 5]) for n in range(10)]
        )
        app = make_app(
            Metrics(),
            Health(Metrics(), tuple),
            ApiParts(store, tokens("anything=*", is_open=True), RecordingTombstones(), controls=RecordingControls()),
        )
        async with HttpServer(app, host="127.0.0.1", port=0) as server:
            command = Path(sys.executable).parent / "schemathesis"
            process = await asyncio.create_subprocess_exec(
                str(command),
                *("run", f"http://127.0.0.1:{server.port}/v1/openapi.json"),
                *("-H", "Authorization: Bearer anything"),
                *("--checks", CHECKS, "--max-examples", "40", "--seed", "1", "--phases", "examples,coverage,fuzzing"),
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6000:]
