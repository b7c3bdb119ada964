"""Follows a channel by the reader's rules, and shows its responses: in lanes on a terminal, else as lines."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, Self, assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from processor.ably.subscription import Interrupted, SubscriptionUnavailable
from processor.core.backoff import Backoff
from processor.reader.events import Appended, GapSeen, ReaderEvent, RepairNeeded, Replaced, Started, Stopped
from processor.reader.frames import Message
from processor.reader.reader import Reader, ReaderResponse
from processor.telemetry.retry import Retry

TICK_SECONDS = 1.0
REPAIR = Backoff(first=0.25, cap=1.0)
REPAIRS = 6
LANE_LINES = 6
COLOURS = {"streaming": "cyan", "complete": "green", "cancelled": "yellow", "abandoned": "yellow", "failed": "red"}


class TailedChannel(Protocol):
    """A subscription, attached."""

    async def next(self, within: float) -> Message | Interrupted | None: ...
    async def history(self) -> list[Message]: ...


class Follower:
    """What happens to the responses of a channel, or to `only` one, from now on; with `ended`, from before, too.

    What a reader misses is looked for in the history, some times; then it is given up, and the response is not
    complete.
    """

    def __init__(self, source: TailedChannel, client_id: str, *, only: str | None = None, ended: bool = False) -> None:
        self._source = source
        self.reader = Reader(client_id)
        self._only = only
        self._show_ended = ended or only is not None
        self._hidden: frozenset[str] = frozenset()
        self._repairs = Retry(REPAIR, random.random, lambda: None)

    async def events(self) -> AsyncIterator[Sequence[ReaderEvent]]:
        """Raises SubscriptionRefused. Ends never by itself; what it yields may be empty, once a tick."""
        past = self.reader.replay(await self._past())
        if not self._show_ended:
            self._hidden = frozenset(key for key, response in self.reader.responses.items() if response.finished)
        yield self._wanted(past)
        while True:
            item = await self._source.next(TICK_SECONDS)
            happened: list[ReaderEvent] = []
            if isinstance(item, Message):
                happened += self.reader.feed(item)
            if isinstance(item, Interrupted) or self.reader.needs():
                happened += await self._repair()
            yield self._wanted(happened)

    async def _repair(self) -> list[ReaderEvent]:
        happened = list(self.reader.replay(await self._past()))
        for response_id in self.reader.needs():
            if self.reader.responses[response_id].finished:  # history adds nothing to what has ended
                happened += self.reader.give_up(response_id)
        if not self.reader.needs():
            self._repairs.succeeded()
            return happened
        if self._repairs.attempt + 1 >= REPAIRS:
            self._repairs.succeeded()
            for response_id in self.reader.needs():
                happened += self.reader.give_up(response_id)
        else:
            await self._repairs.pause()
        return happened

    async def _past(self) -> list[Message]:
        try:
            return await self._source.history()
        except SubscriptionUnavailable:
            return []

    def _wanted(self, happened: Sequence[ReaderEvent]) -> list[ReaderEvent]:
        return [
            one for one in happened if one.response_id not in self._hidden and self._only in (None, one.response_id)
        ]


class Show(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def update(self, happened: Sequence[ReaderEvent], reader: Reader) -> None: ...


async def run(follower: Follower, show: Show, count: int) -> None:
    """Until `count` responses have ended (0: never), or SIGINT or SIGTERM comes."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    ended: set[str] = set()
    try:
        with show:
            async for happened in follower.events():
                show.update(happened, follower.reader)
                ended |= {one.response_id for one in happened if isinstance(one, Stopped)}
                if count and len(ended) >= count:
                    return
    except asyncio.CancelledError:
        if not stopped:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class JsonLines:
    """One object for each event."""

    def __init__(self, write: Callable[[object], None]) -> None:
        self._write = write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held."""

    def update(self, happened: Sequence[ReaderEvent], reader: Reader) -> None:
        for one in happened:
            self._write(as_fields(one, reader.responses.get(one.response_id)))


class PlainLines:
    """A line for each event, the response's id first."""

    def __init__(self, write: Callable[[str], None], visible: Callable[[str], str]) -> None:
        self._write = write
        self._visible = visible

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held."""

    def update(self, happened: Sequence[ReaderEvent], reader: Reader) -> None:
        for one in happened:
            told = as_fields(one, reader.responses.get(one.response_id))
            kind, response_id = told.pop("happening"), told.pop("responseId")
            rest = " ".join(f"{name}={value!r}" for name, value in told.items() if value is not None)
            self._write(self._visible(f"{response_id} {kind} {rest}".rstrip()))


class TailLanes:
    """A panel for each response, the newest below; drawn a few times a second."""

    def __init__(self, visible: Callable[[str], str]) -> None:
        self._visible = visible
        self._reader: Reader | None = None
        self._shown: dict[str, None] = {}
        self._console = Console()
        self._live = Live(
            console=self._console, get_renderable=self._draw, refresh_per_second=8, vertical_overflow="crop"
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def update(self, happened: Sequence[ReaderEvent], reader: Reader) -> None:
        self._reader = reader
        self._shown |= dict.fromkeys(one.response_id for one in happened)

    def drawn(self, *, width: int, height: int) -> str:
        """As a terminal of this size would show it, without colours."""
        console = Console(width=width, height=height, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self._lanes(console))
        return capture.get()

    def _draw(self) -> Group | Text:
        return self._lanes(self._console)

    def _lanes(self, console: Console) -> Group | Text:
        reader = self._reader
        if reader is None or not self._shown:
            return Text("Attached; waiting for responses.", style="dim")
        rows = max(1, console.height // (LANE_LINES + 2))
        known = [reader.responses[key] for key in self._shown if key in reader.responses]
        return Group(*(self._lane(response, console) for response in known[-rows:]))

    def _lane(self, response: ReaderResponse, console: Console) -> Panel:
        text = Text(no_wrap=False, overflow="fold")
        for part in response.parts.values():
            if len(response.parts) > 1 or part.part != "text":
                text.append(f"{self._visible(part.part)}: ", style="dim italic")
            text.append(self._visible(part.text) + "\n", style="" if part.part == "text" else "dim")
        width = max(10, console.width - 4)
        lines = list(text.wrap(console, width))[-LANE_LINES:]
        body = Text("\n").join(lines)
        state = response.status + {True: " ✓", False: " ≠", None: ""}[response.verified]
        lost = "" if response.complete and not response.gaps else f" · {len(response.gaps)} gaps"
        title = Text(f"{self._visible(response.response_id)} · {state} · {response.tokens} tokens{lost}")
        return Panel(body, title=title, title_align="left", border_style=COLOURS.get(response.status, "white"))


def as_fields(one: ReaderEvent, response: ReaderResponse | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"happening": "", "responseId": one.response_id}
    match one:
        case Started():
            fields |= {"happening": "start", "metadata": response.metadata if response else None}
        case Appended():
            fields |= {"happening": "text", "part": one.part, "text": one.text}
        case GapSeen():
            fields |= {"happening": "gap", "from": one.first, "to": one.last}
        case Stopped():
            reason = response.reason if response else None
            fields |= {"happening": "stop", "status": one.status, "reason": reason, "verified": one.verified}
            fields |= {"complete": response.complete if response else None}
        case Replaced():
            fields |= {"happening": "replaced", "text": response.text if response else None}
        case RepairNeeded():
            fields |= {"happening": "loss"}
        case _:
            assert_never(one)
    return fields
