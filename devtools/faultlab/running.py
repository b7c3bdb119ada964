"""Runs one row, from its broker to its counts."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from devtools.faultlab.around import Around, NotHere, SkewedClock, small_disk
from devtools.faultlab.results import Counts, Result
from devtools.faultlab.rows import AblyRow
from devtools.faultlab.scenarios import gather_refused
from devtools.faultlab.stand import KAFKA_DEADLINE, Stand, built
from devtools.group_proxy import GroupProxy, kafka_behind
from devtools.judge.texts import Tally
from devtools.kafka import LocalKafka

SMALL_DISK_MB = 24


async def run_row(row: AblyRow, *, plain: bool = True, bootstrap: str | None = None) -> Result:
    """Raises nothing that the row itself does: what goes wrong in it is a problem of its result.

    `bootstrap`: a broker that may be used by others too. Without it, and where the row needs one of its own, it starts one.
    """
    began, date = time.monotonic(), time.strftime("%Y-%m-%d %H:%M")
    setup = replace(row.setup, plain=row.setup.plain and plain)
    result = Result(row.name, date=date, seed=setup.seed)
    try:
        async with surroundings(row, bootstrap) as around, built(setup, around) as stand:
            await _load_and_judge(row, stand, result)
    except NotHere as missing:
        result.not_run = str(missing)
    result.seconds = round(time.monotonic() - began)
    return result


async def _load_and_judge(row: AblyRow, stand: Stand, result: Result) -> None:
    scenario: list[str] = []
    async with stand.load.running():
        try:
            await row.run(stand)
        except Exception as failure:  # noqa: BLE001 - whatever broke the scenario is this row's finding
            scenario.append(f"the scenario did not come to its end: {failure!r}")
    await gather_refused(stand)
    await stand.finish()
    for name, (tally, recovered) in (await stand.judge()).items():
        side = stand.tokenstream if name == "tokenstream" else stand.plain
        assert side is not None
        if name == "tokenstream":
            scenario += [f"ended by itself: {ended}" for ended in side.crew.ended_by_themselves]
            scenario += [said for said in stand.happened if said.startswith("WRONG")]
            tally.problems[:0] = scenario
        measured = bool(stand.marks or (stand.recoveries and name == "tokenstream"))
        result.counts[name] = counts_of(tally, recovered, measured=measured, peaks=side.crew.peaks)
        result.counts[name].restarts = len(side.crew.ended_by_themselves)
    result.happened = stand.happened
    result.struck = stand.struck
    result.samples = stand.samples
    result.interruptions = sum(reader.interruptions for reader in stand.readers.values())


def counts_of(tally: Tally, recovered: float | None, *, measured: bool, peaks: dict[str, float]) -> Counts:
    return Counts(
        tokens=tally.tokens,
        responses=tally.responses,
        out_of_order=tally.out_of_order,
        lost=len(tally.lost),
        repeated_as_published=tally.repeated_as_published,
        repeated_for_reader=tally.repeated_for_reader,
        unfinished=len(tally.unfinished),
        recovery=recovered,
        recovery_measured=measured,
        peaks={role: round(mib) for role, mib in peaks.items()},
        problems=tally.problems,
    )


@contextlib.asynccontextmanager
async def surroundings(row: AblyRow, bootstrap: str | None) -> AsyncIterator[Around]:
    """The row's broker, and what else it needs."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faultlab-around-")))
        around = Around()
        if "key" in row.needs:
            around.key_file = directory / "key"
            around.key_file.write_text("local.key:wrong")
        if "clock" in row.needs:
            around.clock = SkewedClock(directory)
            around.clock.environment()  # fails at once without the library
        if "disk" in row.needs:
            disk = directory / "disk"
            disk.mkdir()
            around.disk = await stack.enter_async_context(small_disk(disk, SMALL_DISK_MB))
        if "proxy" in row.needs:
            around.proxy = await stack.enter_async_context(GroupProxy())
        if bootstrap is None or "broker" in row.needs or "proxy" in row.needs:
            around.broker = LocalKafka() if around.proxy is None else kafka_behind(around.proxy)
            stack.push_async_callback(around.broker.close)
            await around.broker.start(deadline=KAFKA_DEADLINE)
            bootstrap = around.broker.bootstrap
        around.bootstrap = bootstrap
        yield around


def run(row: AblyRow, *, plain: bool = True, bootstrap: str | None = None) -> Result:
    return asyncio.run(run_row(row, plain=plain, bootstrap=bootstrap))
