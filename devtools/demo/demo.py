"""`tokenstream demo`: a whole deployment on this machine, offline, with a sample model service and a page to watch it."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable

from rich.console import Console
from rich.table import Table

from devtools.demo.breaking import Breaker
from devtools.demo.model import Pace, SampleModel
from devtools.demo.once import run_once
from devtools.demo.web.server import Collaborators, DemoPage, Prompt, check_servable
from devtools.deployment import LocalDeployment, deployed
from devtools.emulator.server import demo_token
from processor.errors import TokenstreamError
from topics.producer import DeliveryError, TokenProducer

CHANNEL = "chat:demo"
TOKEN_SECONDS = 3600.0
DEFAULT_PORT = 8400


async def run_demo(*, once: bool = False, port: int = DEFAULT_PORT, direct: bool = False) -> int:
    """Run until Ctrl-C, or with `once` until everything was compared; the exit code. Ends only what it started."""
    console = Console()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a stopped broker is part of the show
    try:
        if not once:
            check_servable(port)
        async with deployed(lambda what: console.print(f"[dim]{what}…[/dim]"), direct=direct) as deployment:
            if once:
                return 0 if await run_once(deployment, console) else 1
            await _show(deployment, console, port)
    except TokenstreamError as error:
        print(error, file=sys.stderr)
        return 1
    except BaseExceptionGroup as group:
        ours, others = group.split(TokenstreamError)
        if others is not None or ours is None:
            raise
        print(_first(ours), file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        console.print("[dim]Everything was stopped.[/dim]")
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _show(deployment: LocalDeployment, console: Console, port: int) -> None:
    async with TokenProducer(deployment.kafka.bootstrap) as producer, asyncio.TaskGroup() as tasks:
        model = SampleModel(producer, CHANNEL, Pace())

        async def say(prompt: Prompt) -> None:
            tasks.create_task(_surviving(model.ask(prompt.name, prompt.text, everyone=prompt.everyone)))

        collaborators = Collaborators(
            realtime=deployment.endpoint,
            api=deployment.api,
            channel=CHANNEL,
            token=lambda: demo_token(deployment.key, {CHANNEL: ["subscribe", "history"]}, None, TOKEN_SECONDS),
            cancel_token=lambda: demo_token(deployment.key, {CHANNEL: ["publish"]}, None, TOKEN_SECONDS),
            say=say,
            faults=Breaker(deployment, tasks).faults(),
        )
        async with DemoPage(collaborators, port) as page:
            _say_where(deployment, page, console)
            while True:
                await _surviving(model.converse())


async def _surviving(talk: Awaitable[object]) -> None:
    """A broker that is gone for too long ends an answer, not the demo."""
    try:
        await talk
    except* DeliveryError as group:
        print(f"An answer was cut short: {_first(group)}", file=sys.stderr)


def _described(deployment: LocalDeployment) -> str:
    if deployment.endpoint is None:
        return "none: readers follow tokenstream's gateway"
    return f"{deployment.endpoint} (a local emulator, not Ably)"


def _say_where(deployment: LocalDeployment, page: DemoPage, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    rows = (
        ("Kafka", deployment.kafka.bootstrap),
        ("realtime server", _described(deployment)),
        ("tokenstream", f"{deployment.api} (API, health, metrics), pid {deployment.tokenstream.pid}"),
        ("data and logs", str(deployment.directory)),
    )
    for name, where in rows:
        table.add_row(f"[dim]{name}[/dim]", where)
    console.print(table)
    console.print(f"\nOpen [bold]{page.address}[/bold] - in two windows, if you like. Ctrl-C ends everything.")
