"""`tokenstream demo`: runs everything on this machine, offline."""

import asyncio
import sys
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True)


@app.callback()
def demo(
    *,
    once: Annotated[bool, typer.Option(help="Stream, check every text, print a table, and exit.")] = False,
    port: Annotated[int, typer.Option(help="Port of the page.")] = 8400,
    direct: Annotated[
        bool,
        typer.Option(help="Without a realtime server: readers follow tokenstream's own gateway (REALTIME=direct)."),
    ] = False,
) -> None:
    """Run everything on this machine, offline: Kafka, a local realtime server, a sample model, and a page."""
    from devtools.demo.demo import run_demo

    sys.exit(asyncio.run(run_demo(once=once, port=port, direct=direct)))
