"""Renders the pictures of `doctor`, `tail` and `top` from a real deployment on this machine: `make recordings`."""

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from devtools.demo.model import Pace, SampleModel
from devtools.deployment import LocalDeployment, deployed
from devtools.terminal import Terminal, start
from devtools.waiting import eventually
from topics.producer import TokenProducer

IMAGES = Path(__file__).parent.parent / "docs" / "images"
CHANNELS = ("chat:42", "chat:43", "chat:44", "chat:45", "chat:46")
COLUMNS, ROWS = 92, 26
STREAMING_SECONDS = 8.0
STILL_SECONDS = 0.04
COLOURS = {"brown": "yellow", "default": None}
FONT_ADDRESSES = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""Rich's pictures name a font on the web; a picture in the docs asks for nothing from anywhere."""


def environment(deployment: LocalDeployment) -> Mapping[str, str]:
    return {**deployment.environment(), "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}


@asynccontextmanager
async def shown(deployment: LocalDeployment, *arguments: str) -> AsyncIterator[Terminal]:
    with Terminal(COLUMNS, ROWS) as terminal:
        process = await start(*arguments, environment=environment(deployment), terminal=terminal.slave)
        try:
            yield terminal
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def keep(terminal: Terminal, name: str, title: str) -> None:
    # Between two drawings: a program that draws on and on may be in the middle of one.
    await eventually(lambda: time.monotonic() - terminal.fed_at > STILL_SECONDS, every=0.01)
    (IMAGES / f"cli-{name}.svg").write_text(picture(terminal.screen, f"tokenstream {title}"))
    print(terminal.shown())


def picture(screen: pyte.Screen, title: str) -> str:
    """Returns the screen as SVG, as high as its contents."""
    console = Console(record=True, width=screen.columns, file=io.StringIO(), highlight=False, markup=False)
    last = max((row for row, line in enumerate(screen.display) if line.strip()), default=0)
    for row in range(last + 1):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            style = Style(color=colour(cell.fg), bgcolor=colour(cell.bg), bold=cell.bold, reverse=cell.reverse)
            line.append(cell.data, style)
        console.print(line, no_wrap=True, overflow="crop")
    svg = FONT_ADDRESSES.sub("", console.export_svg(title=title))
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


def colour(name: str) -> str | None:
    """A colour of pyte's, as Rich calls it."""
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return COLOURS.get(name, name.replace("bright", "bright_"))


async def record(deployment: LocalDeployment) -> None:
    async with shown(deployment, "doctor") as doctor:
        await eventually(lambda: "store  " in doctor.shown(), deadline=60)
        await keep(doctor, "doctor", "doctor")
    async with TokenProducer(deployment.kafka.bootstrap) as producer, asyncio.TaskGroup() as tasks:
        talks = [
            tasks.create_task(SampleModel(producer, channel, Pace(between=4.0), seed=seed).converse())
            for seed, channel in enumerate(CHANNELS)
        ]
        async with (
            shown(deployment, "tail", CHANNELS[0]) as tail,
            shown(deployment, "top", deployment.api, "--every", "3") as top,
        ):
            await eventually(lambda: "streaming" in tail.shown(), deadline=60)
            await asyncio.sleep(STREAMING_SECONDS)  # for figures of a stream that has been going on
            await eventually(lambda: "oldest unsent" in top.shown(), deadline=60)
            await keep(tail, "tail", f"tail {CHANNELS[0]}")
            await keep(top, "top", "top")
        for talk in talks:
            talk.cancel()


async def main() -> None:
    async with deployed(print) as deployment:
        await record(deployment)


if __name__ == "__main__":
    asyncio.run(main())
