"""Every scenario by its name: what it runs, and its default size."""

import dataclasses
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from devtools.bench.backlog import Backlog, run_backlog
from devtools.bench.bridge import run_bridge
from devtools.bench.cancel import run_cancel
from devtools.bench.direct import ROUNDS, Paths, run_direct
from devtools.bench.gateway import ReadersWanted, run_gateway
from devtools.bench.idle import IDLE_SECONDS, run_idle
from devtools.bench.live import Live, live_stage, run_live
from devtools.bench.load import Load
from devtools.bench.memory import run_memory
from devtools.bench.peers import run_peers
from devtools.bench.results import Result, Series
from devtools.bench.takeover import Takeover, run_takeover
from devtools.children import Child
from devtools.kafka import LocalKafka

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
    idle_readers: int | None = None
    busy_readers: int | None = None
    rounds: int | None = None
    seed: int = 1
    no_roll_up: bool = False
    against: bool = False

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
    """Where a scenario runs: a running broker, a directory of its own, and a function that reports progress."""

    kafka: LocalKafka
    directory: Path
    say: Say


Scenario = Callable[[Scene, Wanted], Awaitable[list[Result]]]

LIMITS = ("--limits",)
STEADY = Load(name="steady", responses=300, tokens=100, open=100, tokens_per_second=2_000.0)
RATES = (500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0)
ROUND_TRIPS = (20.0, 80.0, 200.0)
RELAYS = (1, 2, 4)
PLAIN_SECONDS = 8.0
CANCELS = 500
MEMORY_RESPONSES = 10_000
BRIDGE_REQUESTS = 500
PEER_SECONDS = 10.0
SWEEP_SECONDS = 4.0
SLOW_STORE = "devtools.bench.slow_store"
OVER = (
    *("tokens a second", "latency, p50", "latency, p99", "first token, p50", "first token, p99"),
    *("tokens per frame", "messages a second", "relay processor"),
)


# Backlogs


async def backlog(scene: Scene, wanted: Wanted) -> list[Result]:
    if wanted.no_roll_up:
        return await one_token(scene, wanted)
    given = Backlog(load=Load(name="backlog", responses=1_000), title="Backlog")
    return await _backlog(scene, wanted, given, compare=wanted.against)


async def one_token(scene: Scene, wanted: Wanted) -> list[Result]:
    # More than are open at once: at the end of a run fewer and fewer channels have something to send.
    load = Load(name="one-token", responses=600, alternate=True)
    return await _backlog(scene, wanted, Backlog(load=load, title="Backlog, one token a message"))


async def small(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="small", responses=3_000, tokens=3)
    return await _backlog(scene, wanted, Backlog(load=load, title="Many small responses"))


async def huge(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="huge", responses=4, tokens=50_000)
    return await _backlog(scene, wanted, Backlog(load=load, title="A few huge responses"))


async def hot_channel(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="hot-channel", responses=200, channels=1)
    return await _backlog(scene, wanted, Backlog(load=load, title="All responses on one channel"))


async def ten_million(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="ten-million", responses=30_500)
    return await _backlog(scene, wanted, Backlog(load=load, title="Ten million tokens", within=1_800.0))


async def scaling(scene: Scene, wanted: Wanted) -> list[Result]:
    """One result for all, a value for each number of relays."""
    found = []
    for relays in (wanted.relays,) if wanted.relays else RELAYS:
        load = Load(name=f"scaling-{relays}", responses=1_000)
        title = f"Backlog, {relays} relays"
        plan = Backlog(load=load, title=title, relays=relays)
        found += await _backlog(scene, dataclasses.replace(wanted, relays=relays), plan)
    result = Result(scenario="scaling", title="More relays, on one machine", load=found[0].load, seed=wanted.seed)
    points = []
    for each in found:
        relays = int(each.scenario.rpartition("-")[2])
        rate = each.get("tokens a second") or 0.0
        result.add(f"{relays} relays", rate, "tokens/s")
        result.add(f"{relays} relays, processor time", each.get("relay processor time") or 0.0, "s")
        points.append((float(relays), rate))
    result.series = [Series("tokens a second", points)]
    return [result]


async def _backlog(scene: Scene, wanted: Wanted, given: Backlog, *, compare: bool = False) -> list[Result]:
    plan = dataclasses.replace(
        given,
        load=wanted.load(given.load),
        relays=wanted.relays or given.relays,
        partitions=wanted.partitions or given.partitions,
        within=wanted.seconds or given.within,
        against=PLAIN_SECONDS if compare else 0.0,
    )
    scene.say(plan.title)
    return await run_backlog(scene.kafka, scene.directory / plan.load.name, plan)


# Live loads


async def steady(scene: Scene, wanted: Wanted) -> list[Result]:
    return await _live(scene, wanted, Live(load=STEADY, title="Steady load, no pace set"))


async def burst(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="burst", responses=500, tokens=100, open=500)
    return await _live(scene, wanted, Live(load=load, title="Many responses at once, on a relay that waits for them"))


async def limits(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="limits", responses=40, tokens=200, open=40, tokens_per_second=1_600.0)
    live = Live(
        load=load,
        title="Ably's limits, and the default pace",
        settings={},
        realtime_options=LIMITS,
        channels_per_connection=1,
    )
    return await _live(scene, wanted, live)


async def sweep(scene: Scene, wanted: Wanted) -> list[Result]:
    """The steady load at several rates, on one relay that stays."""
    load = wanted.load(msgspec.structs.replace(STEADY, name="sweep"))
    live = Live(load=load, title="Latency over load", partitions=wanted.partitions or 12)
    found = []
    async with live_stage(scene.kafka, scene.directory / "sweep", live) as stage:
        for rate in (wanted.rate,) if wanted.rate else RATES:
            tokens = wanted.tokens or max(20, int(SWEEP_SECONDS * rate / STEADY.open))
            load = Load(
                name=f"sweep-{rate:g}", on="sweep", responses=100, tokens=tokens, open=100, tokens_per_second=rate
            )
            scene.say(f"Latency at {rate:,.0f} tokens/s")
            result, _ = await run_live(stage, dataclasses.replace(live, load=wanted.load(load)))
            found.append((rate, result))
    return [_over(found, "sweep", "Latency over load", "tokens/s")]


async def network(scene: Scene, wanted: Wanted) -> list[Result]:
    """A steady load with every frame to and from the realtime service delayed, half a round trip each way."""
    small = Load(name="network", responses=100, tokens=60, open=50, tokens_per_second=1_000.0)
    live = Live(load=wanted.load(small), title="A slow network", realtime_options=("--admin",))
    found = []
    async with live_stage(scene.kafka, scene.directory / "network", live) as stage:
        for trip in ROUND_TRIPS:
            scene.say(f"A round trip of {trip:g} ms to the realtime service")
            await stage.fault({})
            await stage.fault({"latency": {"in_ms": trip / 2, "out_ms": trip / 2}})
            load = wanted.load(msgspec.structs.replace(small, name=f"network-{trip:g}", on="network"))
            result, _ = await run_live(stage, dataclasses.replace(live, load=load))
            found.append((trip, result))
    return [_over(found, "network", "A slow network", "ms")]


async def slow_store(scene: Scene, wanted: Wanted) -> list[Result]:
    """All roles in one process, and a store whose lock another holds nearly all of the time: live tokens must not notice."""
    found = []
    for name, slow in (("usual", False), ("slow", True)):
        load = wanted.load(Load(name=f"store-{name}", responses=100, tokens=70, open=50, tokens_per_second=1_000.0))
        live = Live(load=load, title=f"A {name} store", role="run")
        scene.say(f"All roles in one process, with a {name} store")
        async with live_stage(scene.kafka, scene.directory / load.name, live) as stage:
            file = str(stage.directory / "tokenstream.db")
            holder = Child("slow store", sys.executable, "-m", SLOW_STORE, file, log=stage.directory / "store.log")
            try:
                if slow:
                    await holder.start()
                result, _ = await run_live(stage, live)
            finally:
                await holder.kill()
        found.append((float(slow), result))
    return [_over(found, "slow-store", "A store locked 9 of 10 of the time (1), and not (0)", "")]


def _over(found: list[tuple[float, Result]], scenario: str, title: str, unit: str) -> Result:
    """One result of several: a series for each value, over what was varied."""
    last = found[-1][1]
    result = Result(scenario=scenario, title=title, load=f"such as {last.load}", seed=last.seed)
    for at, each in found:
        for name in OVER:
            value = next((value for value in each.values if value.name == name), None)
            if value is not None:
                result.add(f"{name}, at {at:,.0f} {unit}".rstrip(), value.value, value.unit)
    result.series = [Series(name, [(at, each.get(name) or 0.0) for at, each in found]) for name in OVER]
    return result


async def _live(scene: Scene, wanted: Wanted, given: Live) -> list[Result]:
    live = dataclasses.replace(
        given,
        load=wanted.load(given.load),
        relays=wanted.relays or given.relays,
        partitions=wanted.partitions or given.partitions,
        within=wanted.seconds or given.within,
    )
    scene.say(live.title)
    async with live_stage(scene.kafka, scene.directory / live.load.name, live) as stage:
        result, _ = await run_live(stage, live)
    return [result]


# Ownership, and rest


async def takeover(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="takeover", responses=1_000, tokens=14, open=1_000, tokens_per_second=1_000.0)
    found = []
    for name, killed in (("takeover", False), ("takeover-killed", True)):
        title = f"Takeover of a partition with many open responses, the owner {'killed' if killed else 'stopped'}"
        scene.say(title)
        mine = wanted.load(msgspec.structs.replace(load, name=name))
        plan = Takeover(load=mine, title=title, killed=killed, session=3.0, partitions=wanted.partitions or 1)
        found.append(await run_takeover(scene.kafka, scene.directory / name, plan))
    return found


async def crash(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="crash", responses=100, tokens=200, open=100, tokens_per_second=1_000.0)
    title = "One of two relays is killed"
    plan = Takeover(load=wanted.load(load), title=title, killed=True, partitions=wanted.partitions or 12, after=5.0)
    scene.say(title)
    return [await run_takeover(scene.kafka, scene.directory / "crash", plan)]


async def cancel(scene: Scene, wanted: Wanted) -> list[Result]:
    scene.say("Responses that are cancelled while they stream")
    directory, cancels = scene.directory / "cancel", wanted.responses or CANCELS
    return [await run_cancel(scene.kafka, directory, cancels=cancels, seed=wanted.seed)]


async def idle(scene: Scene, wanted: Wanted) -> list[Result]:
    load = Load(name="idle", responses=8_000, tokens=60, open=8_000, channels=10_000, leave_open=True)
    scene.say("An idle relay, and one with many open responses")
    return [await run_idle(scene.kafka, scene.directory / "idle", wanted.load(load), wanted.seconds or IDLE_SECONDS)]


async def memory(scene: Scene, wanted: Wanted) -> list[Result]:
    scene.say("Open responses, ended ones and huge records beyond the bounds")
    return [await run_memory(scene.kafka, scene.directory / "memory", wanted.responses or MEMORY_RESPONSES)]


async def bridge(scene: Scene, wanted: Wanted) -> list[Result]:
    scene.say("Requests through a bridge, and past it")
    return [await run_bridge(scene.kafka, scene.directory / "bridge", wanted.responses or BRIDGE_REQUESTS)]


async def direct(scene: Scene, wanted: Wanted) -> list[Result]:
    scene.say("The same load by Ably's protocol and by a gateway, in turn")
    load = wanted.load(Load(name="direct", responses=100, tokens=100, open=50, tokens_per_second=1_000.0))
    title = "From producer to reader by either transport"
    paths = Paths(load, title, partitions=wanted.partitions or 12, rounds=wanted.rounds or ROUNDS)
    return [await run_direct(scene.kafka, scene.directory / "direct", paths)]


async def gateway(scene: Scene, wanted: Wanted) -> list[Result]:
    scene.say("Many readers of one gateway")
    usual = ReadersWanted()
    readers = ReadersWanted(
        idle=usual.idle if wanted.idle_readers is None else wanted.idle_readers,
        busy=wanted.busy_readers or usual.busy,
        channels=wanted.channels or usual.channels,
        frames_per_second=wanted.rate or usual.frames_per_second,
        seconds=wanted.seconds or usual.seconds,
    )
    return [await run_gateway(scene.kafka, scene.directory / "gateway", readers, wanted.seed)]


async def peers(scene: Scene, wanted: Wanted) -> list[Result]:
    scene.say("The same loads through the relay, and through Centrifugo")
    return [await run_peers(scene.kafka, scene.directory / "peers", wanted.seed, wanted.seconds or PEER_SECONDS)]


SCENARIOS: Mapping[str, Scenario] = {
    "backlog": backlog,
    "one-token": one_token,
    "steady": steady,
    "sweep": sweep,
    "burst": burst,
    "small": small,
    "huge": huge,
    "hot-channel": hot_channel,
    "limits": limits,
    "network": network,
    "slow-store": slow_store,
    "scaling": scaling,
    "takeover": takeover,
    "crash": crash,
    "cancel": cancel,
    "idle": idle,
    "memory": memory,
    "bridge": bridge,
    "direct": direct,
    "gateway": gateway,
    "peers": peers,
    "ten-million": ten_million,
}
STANDARD = tuple(name for name in SCENARIOS if name not in {"peers", "ten-million"})
"""What runs when nothing is named: all but the one that takes minutes, and the one that needs another program."""
