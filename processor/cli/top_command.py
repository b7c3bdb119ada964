"""`tokenstream top`: flow, latency, lag and open responses, from the metrics of the processes."""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.shared import Config, Json, console, print_json, quiet_logs, read_settings, run_async, visible
from processor.errors import Retryable

if TYPE_CHECKING:
    from rich.console import Group

    from processor.cli.top import Look, Now
    from processor.config.settings import Settings

FETCH_SECONDS = 5.0
LAGS_SHOWN = 24


class MetricsUnavailable(Retryable):
    """A process's metrics could not be read."""


def top(
    url: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URL]...", help="Addresses of processes; defaults to the one on this machine."),
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 2.0,
    count: Annotated[int, typer.Option(min=0, help="Stop after this number of updates; 0 never stops.")] = 0,
    *,
    json: Json = False,
    config: Config = None,
) -> None:
    """Watch flow, latency, lag and open responses. Ctrl-C ends it."""
    settings = read_settings(config)
    quiet_logs()
    urls = [_metrics_url(one) for one in url or [_own(settings)]]

    async def work() -> None:
        from processor.cli.top import between

        before, at = await _look(urls), time.monotonic()
        done = 0
        while not count or done < count:
            await asyncio.sleep(every)
            after, now = await _look(urls), time.monotonic()
            _show(between(before, after, now - at), json=json)
            before, at, done = after, now, done + 1

    try:
        run_async(work())
    except KeyboardInterrupt:
        return


def _own(settings: "Settings") -> str:
    host = "127.0.0.1" if settings.http_host in ("0.0.0.0", "::") else settings.http_host  # noqa: S104 - not bound to here
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"


def _metrics_url(url: str) -> str:
    whole = url if "://" in url else f"http://{url}"
    return whole if whole.endswith("/metrics") else f"{whole.rstrip('/')}/metrics"


async def _look(urls: list[str]) -> "Look":
    import aiohttp

    from processor.cli.top import look_at

    async def fetch(session: aiohttp.ClientSession, url: str) -> str:
        try:
            # Prometheus' plain format, whatever else the server can write.
            async with session.get(url, headers={"Accept": "text/plain"}) as answer:
                answer.raise_for_status()
                return await answer.text()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise MetricsUnavailable(
                f"{visible(url)} gives no metrics ({type(error).__name__}): is a process up there?"
            ) from error

    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        texts = await asyncio.gather(*(fetch(session, url) for url in urls))
    try:
        return look_at(texts)
    except (ValueError, KeyError) as error:
        raise MetricsUnavailable(
            f"{', '.join(map(visible, urls))}: an answer has no valid metrics. Check that --url is a metrics address."
        ) from error


def _show(now: "Now", *, json: bool) -> None:
    if json:
        print_json(_fields(now))
        sys.stdout.flush()
        return
    screen = console()
    if screen.is_terminal:
        screen.clear()
    screen.print(_drawn(now))


def _fields(now: "Now") -> dict[str, Any]:
    latencies = {name: pair and {"p50": pair[0], "p95": pair[1]} for name, pair in now.latencies.items()}
    lag = [
        {
            "topic": place[0],
            "partition": place[1],
            "records": records,
            "openResponses": now.open_responses.get(place),
            "oldestUnsentSeconds": now.oldest.get(place),
        }
        for place, records in now.lag.items()
    ]
    return {"perSecond": dict(now.rates), **now.gauges, "seconds": latencies, "lag": lag}


def _drawn(now: "Now") -> "Group":
    from rich.console import Group
    from rich.table import Table

    flow = Table(box=None, pad_edge=False)
    flow.add_column("a second")
    flow.add_column("", justify="right")
    for name, rate in now.rates.items():
        flow.add_row(name, f"{rate:,.1f}")
    state = Table(box=None, pad_edge=False)
    state.add_column("now")
    state.add_column("", justify="right")
    for name, value in now.gauges.items():
        state.add_row(name, f"{value:,.0f}")
    latency = Table(box=None, pad_edge=False)
    for name in ("latency", "p50", "p95"):
        latency.add_column(name, justify="left" if name == "latency" else "right")
    for name, pair in now.latencies.items():
        latency.add_row(name, *(f"{value * 1000:,.1f} ms" for value in pair or ()))
    lag = Table(box=None, pad_edge=False)
    for name in ("topic", "partition", "lag", "open", "oldest unsent"):
        lag.add_column(name, justify="left" if name == "topic" else "right")
    worst = sorted(now.lag.items(), key=lambda item: (-item[1], item[0]))[:LAGS_SHOWN]
    for place, records in worst:
        opened, oldest = now.open_responses.get(place), now.oldest.get(place)
        lag.add_row(
            visible(place[0]),
            str(place[1]),
            f"{records:,.0f}",
            "" if opened is None else f"{opened:,.0f}",
            "" if oldest is None else f"{oldest:,.1f} s",
        )
    head = Table.grid(padding=(0, 4))
    head.add_row(flow, state, latency)
    return Group(head, "", lag)
