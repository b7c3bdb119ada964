"""`python -m devtools.emulator --port N [--admin] [--limits]`: the local realtime server as its own process."""

import argparse
import asyncio
import gc
import signal

import uvloop

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devtools.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--key", default=DEFAULT_KEY)
    parser.add_argument("--admin", action="store_true", help="open /admin: fault switches, statistics, the log")
    parser.add_argument("--limits", action="store_true", help="enforce the real service's rate limits")
    parser.add_argument("--history-ttl", type=float, default=120.0, help="seconds a message is kept")
    # The history is large and holds no cycles, so walking it finds nothing. Measured without sockets over 150,000
    # publishes, four runs each: 18 us a publish instead of 23, and a longest pause of 33 ms instead of 200.
    gc.set_threshold(100_000, 50, 1000)
    uvloop.run(serve(parser.parse_args()))


async def serve(given: argparse.Namespace) -> None:
    """Until SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with LocalRealtime(
        key=given.key, port=given.port, admin=given.admin, limits=given.limits, history_ttl=given.history_ttl
    ) as server:
        print(f"Development emulator of Ably's realtime service (not Ably) on {server.endpoint}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    main()
