"""Writes docs/results/reliability.md from the results of the rows: all of them, the failing ones in red."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from devtools.faultlab.results import Counts, Result
from devtools.faultlab.rows import Row
from devtools.kafka import VERSION as KAFKA

TEMPLATE = Path(__file__).with_name("reliability.md")
HEAD = (
    "| fault | program | tokens | out of order | lost | repeated as published | repeated for a reader | unfinished "
    "| recovery | peak memory |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)
RED = "🔴"
GREEN = "✅"
MAX_TOLD = 300
MIN_SAMPLES = 60


@dataclass(frozen=True, slots=True)
class Facts:
    """Where and with what the rows were run."""

    date: str
    machine: str
    versions: Mapping[str, str]
    note: str = ""


def facts(note: str = "") -> Facts:
    gib = psutil.virtual_memory().total / 2**30
    libraries = {name: version(name) for name in ("aiokafka", "ably", "faust-streaming", "aiosqlite", "asyncpg")}
    return Facts(
        date=time.strftime("%Y-%m-%d"),
        machine=f"{os.cpu_count()} CPUs, {gib:.0f} GiB, {platform.system()} {platform.release()}, {platform.machine()}",
        versions={
            "Apache Kafka": KAFKA,
            "Java": _java(),
            "Python": platform.python_version(),
            **libraries,
        },
        note=note,
    )


def _java() -> str:
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    return told.split('"')[1] if '"' in told else "unknown"


def render(rows: Sequence[Row], results: Mapping[str, Result | None], facts: Facts) -> str:
    lines = [HEAD]
    for row in rows:
        lines += _lines(row, results.get(row.name))
    found = {row.name: results.get(row.name) for row in rows}
    failed = [row for row in rows if not _passes(row, found[row.name])]
    return (
        TEMPLATE.read_text()
        .replace("{verdict}", _verdict(rows, failed, found))
        .replace("{table}", "\n".join(lines))
        .replace("{failures}", "\n".join(_failure(row, found[row.name]) for row in failed) or "None.")
        .replace("{memory}", _picture(results.get("memory")))
        .replace("{date}", facts.date)
        .replace("{machine}", facts.machine)
        .replace("{note}", f" {facts.note}" if facts.note else "")
        .replace("{versions}", ", ".join(f"{name} {number}" for name, number in facts.versions.items()))
        .replace("{rows}", "\n".join(_about(row, found[row.name]) for row in rows))
    )


def _picture(result: Result | None) -> str:
    if result is None or len(result.samples) < MIN_SAMPLES:
        return 'Not measured in this run: `make faults ARGS="--only memory"` draws it.'
    told = "Resident memory and uncommitted records over time, with the realtime service down for 150 seconds"
    return f"![{told}](../images/reliability-memory.svg)"


def _passes(row: Row, result: Result | None) -> bool:
    return result is not None and result.passes(exact=row.exact)


def _verdict(rows: Sequence[Row], failed: Sequence[Row], found: Mapping[str, Result | None]) -> str:
    ours = [counts for result in found.values() if result and (counts := result.counts.get("tokenstream"))]
    plain = [counts for result in found.values() if result and (counts := result.counts.get("plain"))]
    tokens = sum(counts.tokens for counts in ours)
    told = f"{tokens:,} tokens in {sum(counts.responses for counts in ours):,} responses over {len(rows)} rows: "
    told += (
        f"tokenstream {_sums(ours)}; the plain program, in the {len(plain)} rows it can take part in, {_sums(plain)}."
    )
    if failed:
        names = ", ".join(row.title for row in failed)
        return f"{RED} **{len(failed)} of {len(rows)} rows fail**: {names}.\n\n{told}"
    return f"{GREEN} All {len(rows)} rows pass.\n\n{told}"


def _sums(counts: Sequence[Counts]) -> str:
    sums = {
        "lost": sum(one.lost for one in counts),
        "out of order": sum(one.out_of_order for one in counts),
        "repeated for a reader": sum(one.repeated_for_reader for one in counts),
    }
    unfinished = sum(one.unfinished for one in counts)
    return (
        ", ".join(f"{count:,} tokens {name}" for name, count in sums.items()) + f", {unfinished:,} responses unfinished"
    )


def _lines(row: Row, result: Result | None) -> list[str]:
    mark = GREEN if _passes(row, result) else RED
    if result is None or "tokenstream" not in result.counts:
        why = result.not_run if result and result.not_run else "no result"
        return [f"| {mark} {row.title} | tokenstream | not run: {_short(why)} | | | | | | | |"]
    lines = [f"| {mark} {row.title} | tokenstream | {_cells(result.counts['tokenstream'], exact=row.exact)} |"]
    if "plain" in result.counts:
        lines.append(f"| | plain | {_cells(result.counts['plain'], exact=False, ours=False)} |")
    return lines


def _cells(counts: Counts, *, exact: bool, ours: bool = True) -> str:
    recovery = (
        "" if not counts.recovery_measured else "never" if counts.recovery is None else f"{counts.recovery:.1f} s"
    )
    bad = [counts.out_of_order, counts.lost, counts.repeated_as_published * exact, counts.repeated_for_reader]
    shown = [counts.out_of_order, counts.lost, counts.repeated_as_published, counts.repeated_for_reader]
    numbers = [
        f"**{number}** {RED}" if ours and wrong else f"{number:,}" for number, wrong in zip(shown, bad, strict=True)
    ]
    ends = f"**{counts.unfinished}** {RED}" if ours and counts.unfinished else f"{counts.unfinished:,}"
    peak = max((mib for role, mib in counts.peaks.items() if role in ("relay", "plain")), default=0)
    archive = f", archive {counts.peaks['archive']}" if "archive" in counts.peaks else ""
    return " | ".join([f"{counts.tokens:,}", *numbers, ends, recovery, f"{peak} MiB{archive}"])


def _failure(row: Row, result: Result | None) -> str:
    if result is None:
        return f"- **{row.title}** (`{row.name}`): no result."
    ours = result.counts.get("tokenstream", Counts())
    reasons = [result.not_run] if result.not_run else []
    if ours.repeated_as_published and row.exact:
        reasons.append(f"{ours.repeated_as_published} tokens were published twice, where nothing asks for that")
    if ours.recovery_measured and ours.recovery is None:
        reasons.append("it did not recover")
    reasons += ours.problems[:4]
    return f"- **{row.title}** (`{row.name}`): " + "; ".join(_short(reason) for reason in reasons)


def _short(told: str) -> str:
    return " ".join(told.split())[:MAX_TOLD].replace("|", "\\|")


def _about(row: Row, result: Result | None) -> str:
    """What happened in the row."""
    if result is None:
        return f"- `{row.name}`: not run."
    struck = ", ".join(f"{name} {count} times" for name, count in result.struck.items())
    happened = "; ".join(result.happened[:6]) + ("; and so on" if len(result.happened) > 6 else "")
    told = [
        f"seed {result.seed}",
        f"{result.date}, {result.seconds} s",
        happened,
        f"struck tokenstream: {struck}" if struck else "",
    ]
    return f"- `{row.name}`: " + ". ".join(one for one in told if one) + "."
