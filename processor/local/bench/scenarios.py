"""Every scenario by its name: what it runs, and how large it is when nothing else is asked for."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from processor.local.bench.backlog import Backlog, run_backlog
from processor.local.bench.load import Load
from processor.local.bench.results import Result
from processor.local.kafka import LocalKafka

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for; None is the scenario's own."""

    tokens: int | None = None
    responses: int | None = None
    open: int | None = None
    channels: int | None = None
    rate: float | None = None
    seconds: float | None = None
    partitions: int | None = None
    relays: int | None = None
    seed: int = 1
    no_roll_up: bool = False

    def load(self, load: Load) -> Load:
        """The scenario's load, with what was asked for instead of its own."""
        given = {
            "tokens": self.tokens,
            "responses": self.responses,
            "open": self.open,
            "channels": self.channels,
            "tokens_per_second": self.rate if load.tokens_per_second else None,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        alternate = load.alternate or self.no_roll_up
        return msgspec.structs.replace(load, **changes, seed=self.seed, alternate=alternate)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a scenario runs: a broker that is up, a directory of its own, and someone to tell what is being done."""

    kafka: LocalKafka
    directory: Path
    say: Say


Scenario = Callable[[Scene, Wanted], Awaitable[list[Result]]]


async def backlog(scene: Scene, wanted: Wanted) -> list[Result]:
    one = wanted.no_roll_up
    load = Load(name="one-token-a-message" if one else "backlog", responses=300 if one else 1_000)
    title = "Backlog, one token a message" if one else "Backlog"
    return [await run_one(scene, wanted, Backlog(load=load, title=title))]


async def run_one(scene: Scene, wanted: Wanted, given: Backlog) -> Result:
    plan = dataclasses.replace(
        given,
        load=wanted.load(given.load),
        relays=wanted.relays or given.relays,
        partitions=wanted.partitions or given.partitions,
        within=wanted.seconds or given.within,
    )
    scene.say(plan.title)
    return await run_backlog(scene.kafka, scene.directory / plan.load.name, plan)


SCENARIOS: Mapping[str, Scenario] = {"backlog": backlog}
