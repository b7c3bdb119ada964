"""Runs one row without a realtime service, from its processes to its counts."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from devtools.event_readers import hashes
from devtools.faultlab.direct_rows import DirectRow
from devtools.faultlab.direct_stand import DirectReader, DirectStand, direct_stand
from devtools.faultlab.results import Result
from devtools.faultlab.running import counts_of
from devtools.faultlab.sides import stored_texts
from devtools.judge.texts import Tally, recovery
from devtools.produced import Produced


def run_direct(row: DirectRow, bootstrap: str) -> Result:
    return asyncio.run(run_direct_row(row, bootstrap))


async def run_direct_row(row: DirectRow, bootstrap: str) -> Result:
    """Raises nothing that the row itself does: what goes wrong in it is a problem of its result."""
    began, date = time.monotonic(), time.strftime("%Y-%m-%d %H:%M")
    result = Result(row.name, date=date, seed=row.setup.seed)
    async with direct_stand(row.setup, bootstrap) as stand:
        broken: list[str] = []
        async with stand.load.running():
            try:
                await row.run(stand)
            except Exception as failure:  # noqa: BLE001 - whatever broke the scenario is this row's finding
                broken.append(f"the scenario did not come to its end: {failure!r}")
        await stand.finish()
        tally = await judge(stand)
        broken += [f"ended by itself: {ended}" for ended in stand.crew.ended_by_themselves]
        broken += [said for said in stand.happened if said.startswith("WRONG")]
        broken += [f"the fault {name} never struck" for name, count in stand.struck.items() if not count]
        tally.problems[:0] = broken
        recovered = _recovery(stand)
        result.counts["tokenstream"] = counts_of(tally, recovered, measured=bool(stand.marks), peaks=stand.crew.peaks)
        result.counts["tokenstream"].restarts = len(stand.crew.ended_by_themselves)
        result.happened, result.struck = stand.happened, stand.struck
        result.interruptions = sum(reader.stream.connections - 1 for reader in stand.everyone)
    result.seconds = round(time.monotonic() - began)
    return result


async def judge(stand: DirectStand) -> Tally:
    """Judges every token of every response: as published, as each reader of its channel has it, and as stored."""
    given = stand.load.given
    tally = Tally()
    tally.given(given)
    for one in given:
        tally.published(one, stand.log.pieces.get(one.response_id, []), stopped=one.response_id in stand.log.stopped)
        judge_readers(tally, one, stand.everyone)
        texts, status = await stored_texts(stand.store, one.response_id)
        tally.stored(one, texts, stopped=status == "complete")
    return tally


def judge_readers(tally: Tally, given: Produced, readers: Sequence[DirectReader]) -> None:
    """Texts are compared by their SHA-256; those that differ are looked at token by token."""
    wanted = hashes(given.texts)
    for reader in (reader for reader in readers if reader.channel == given.channel):
        if reader.text_hashes(given.response_id) == wanted:
            continue
        response = reader.events.reader.responses.get(given.response_id)
        texts: Mapping[str, str] = {name: part.text for name, part in response.parts.items()} if response else {}
        tally.read(given, texts, stopped=response is not None and response.finished)
        tally.say(f"read: {given.response_id} has another SHA-256 than what was produced")


def _recovery(stand: DirectStand) -> float | None:
    times = {str(number): reader.events.times for number, reader in enumerate(stand.readers)}
    ends = [*stand.marks, stand.load.ended_at][1:]
    silences = [recovery(times, mark, end) for mark, end in zip(stand.marks, ends, strict=True)]
    known = [silence for silence in silences if silence is not None]
    return max(known) if known and len(known) == len(silences) else None
