"""A dashboard, independent of Grafana: rows of panels, each with its query and its appearance.

A panel must have its unit, its meaning and its text for missing data: none of these has a default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

COLUMNS = 24


class Unit(StrEnum):
    """Grafana's names of units."""

    SECONDS = "s"
    BYTES = "bytes"
    COUNT = "short"
    SHARE = "percentunit"
    CORES = "suffix: cores"
    TOKENS_RATE = "suffix: tokens/s"
    RECORDS_RATE = "suffix: records/s"
    FRAMES_RATE = "suffix: frames/s"
    MESSAGES_RATE = "suffix: messages/s"
    RESPONSES_RATE = "suffix: responses/s"
    REQUESTS_RATE = "suffix: requests/s"
    RATE = "suffix:/s"


class Colour(StrEnum):
    """Grafana's palette, by the meaning of a colour."""

    GOOD = "green"
    WATCH = "yellow"
    BAD = "red"
    NEUTRAL = "blue"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` names its series, with `{{label}}` where they differ."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Levels:
    """Where a value begins to ask for attention. `None` is a level it has not."""

    watch: float | None = None
    bad: float | None = None
    base: Colour = Colour.GOOD


NEUTRAL = Levels(base=Colour.NEUTRAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    title: str
    description: str
    unit: Unit
    no_value: str
    """The text if the query has no answer; a sentence fragment, such as `no relay`."""
    queries: Sequence[Query]
    levels: Levels = NEUTRAL
    width: int = 8
    height: int = 8
    least: float | None = 0
    """The lowest value of the axis; None lets Grafana choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """One number, with its recent past behind it."""

    width: int = 4
    height: int = 4
    decimals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Panel):
    """Curves over time. `levels` are drawn as dashed lines."""

    stacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(Panel):
    """A bar for each series, the present value only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat(Panel):
    """How a histogram's buckets filled over time; the query keeps `le`."""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """`uid` is part of the dashboard's address: it never changes. Its file is `<uid without its prefix>.json`."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

    @property
    def file_name(self) -> str:
        return f"{self.uid.removeprefix('tokenstream-')}.json"


@dataclass(frozen=True, slots=True)
class Place:
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A panel, or a row's title, with its position. Ids are unique within their dashboard."""

    id: int
    place: Place
    what: Panel | Row


def arrange(board: Board) -> list[Placed]:
    """Left to right, and on to the next line where a panel no longer fits. Raises ValueError for one wider than the page."""
    placed: list[Placed] = []
    y = 0
    for row in board.rows:
        placed.append(Placed(len(placed) + 1, Place(0, y, COLUMNS, 1), row))
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if panel.width > COLUMNS:
                raise ValueError(
                    f"{panel.title!r} of {board.uid} is {panel.width} wide; the page has {COLUMNS} columns."
                )
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            placed.append(Placed(len(placed) + 1, Place(x, y, panel.width, panel.height), panel))
            x += panel.width
            tallest = max(tallest, panel.height)
        y += tallest
    return placed
