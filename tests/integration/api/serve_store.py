"""`python serve_store.py STORE_URL [WRITE_SECONDS]`: the api with its default limits over a store. Prints its port. For tests that measure the process."""

import asyncio
import sys

from processor.api.access import Access
from processor.api.app import ApiLimits, ApiParts, make_app
from processor.api.memory import release_large_buffers
from processor.archive.stores import open_store
from processor.telemetry.health import Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer


async def serve(url: str, write_seconds: float) -> None:
    release_large_buffers()
    store, metrics = open_store(url), Metrics()
    await store.start()
    limits = ApiLimits(write_seconds=write_seconds)
    app = make_app(metrics, Health(metrics, tuple), ApiParts(store, Access(open=True), limits=limits))
    async with HttpServer(app, host="127.0.0.1", port=0) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1], float(sys.argv[2])))
