"""The JavaScript library on the real API: whoever joins while responses end has every response that was stored."""

import json
from pathlib import Path

from aiohttp import web

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.api.access import Access
from processor.api.app import ApiParts, make_app
from processor.archive.sql import SqlStore
from processor.clock import Clock
from processor.ports.store import Entry, Position
from processor.telemetry.health import Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from support.nodes import run

READERS = 100


async def test_readers_who_join_while_responses_end_have_every_stored_one(tmp_path: Path) -> None:
    url, offset = f"sqlite:///{tmp_path}/store.db", 0
    api_store, archive_store = SqlStore(url, clock=Clock()), SqlStore(url, clock=Clock())
    await api_store.start()
    await archive_store.start()

    async def keep(request: web.Request) -> web.Response:
        nonlocal offset
        offset += 1
        await archive_store.upsert_batch([Entry.of(Position(0, offset), await request.read())])
        return web.Response(status=204)

    archive = web.Application()
    archive.router.add_post("/", keep)
    metrics = Metrics()
    app = make_app(metrics, Health(metrics, tuple), ApiParts(api_store, Access(open=True)))
    try:
        async with (
            LocalRealtime() as realtime,
            HttpServer(app, host="127.0.0.1", port=0) as api,
            HttpServer(archive, host="127.0.0.1", port=0) as keeper,
        ):
            printed = await run(
                "node",
                str(Path(__file__).with_name("client_joins.mjs")),
                str(READERS),
                "7",
                REALTIME_PORT=str(realtime.port),
                REALTIME_KEY=DEFAULT_KEY,
                API=f"http://127.0.0.1:{api.port}/v1",
                STORE=f"http://127.0.0.1:{keeper.port}/",
            )
    finally:
        await archive_store.close()
        await api_store.close()
    outcome = json.loads(printed)
    assert outcome["readers"] == READERS
    assert outcome["responses"] > READERS
    assert (outcome["missing"], outcome["lacking"], outcome["errors"]) == ([], [], [])
