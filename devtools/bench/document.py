"""Writes a report's tables into a Markdown page, between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`. The rest
is unchanged.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from devtools.bench.model import Capacity, Demand, Measured, capacity, measured_from
from devtools.bench.results import Report, Result
from devtools.bench.show import shown
from devtools.bench.targets import TARGETS
from processor.errors import Fatal

PLACE = re.compile(r"(<!-- bench:([a-z-]+) -->\n).*?(<!-- /bench:\2 -->)", re.DOTALL)
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)


class PageUnfit(Fatal):
    """The page to be written into has no place for figures, or one that nothing fills."""


def fill(page: str, report: Report) -> str:
    """The page with every place filled that the report has figures for. Raises PageUnfit."""
    if not PLACE.search(page):
        raise PageUnfit(
            "The page has no place for figures: put <!-- bench:targets --> and <!-- /bench:targets --> into it."
        )

    def place(found: re.Match[str]) -> str:
        text = _section(found[2], report)
        return found[0] if text is None else f"{found[1]}{text}{found[3]}"

    return PLACE.sub(place, page)


def fill_file(file: Path, report: Report) -> None:
    if not file.exists():
        raise PageUnfit(f"There is no page {file}: run from the project's root, or leave --document out.")
    file.write_text(fill(file.read_text(), report))


def _section(name: str, report: Report) -> str | None:
    if name in SECTIONS:
        return SECTIONS[name](report)
    result = report.find(name)
    return None if result is None else _table(result)


def _machine(report: Report) -> str:
    machine = report.machine
    return (
        f"Measured {report.at} at {machine.version}: {machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB, "
        f"{machine.system}, Python {machine.python}, {machine.kafka}; load average before the run {machine.load_before:g}.\n"
    )


def _targets(report: Report) -> str:
    lines = ["| target | required | measured | |", "|---|---|---|---|"]
    missed: dict[str, list[str]] = {}
    for target in TARGETS:
        measured = target.measured(report)
        wanted = f"{'at most' if target.at_most else 'at least'} {shown(target.limit, target.unit)}"
        if measured is None:
            lines.append(f"| {target.what} | {wanted} | not measured | |")
            continue
        met = target.is_met(measured)
        lines.append(
            f"| {target.what} | {wanted} | {shown(measured, target.unit)} | {'met' if met else '**missed**'} |"
        )
        if not met:
            missed.setdefault(target.missed, []).append(target.what)
    reasons = [f"- {'; '.join(what)}: {why}." for why, what in missed.items()]
    return "\n".join([*lines, *(["", "Missed targets, and the reasons:", "", *reasons] if reasons else []), ""])


def _table(result: Result) -> str:
    lines = [f"{result.load[0].upper()}{result.load[1:]}.", "", f"| {result.scenario} | |", "|---|---:|"]
    lines += [f"| {value.name} | {shown(value.value, value.unit)} |" for value in result.values]
    return "\n".join([*lines, ""])


def _varied(scenario: str) -> Callable[[Report], str | None]:
    """A column for each point, a row for each series."""

    def table(report: Report) -> str | None:
        result = report.find(scenario)
        if result is None:
            return None
        points = [x for x, _ in result.series[0].points]
        head = " | ".join(f"{x:,.0f}" for x in points)
        lines = [f"| {scenario} | {head} |", f"|---|{'---:|' * len(points)}"]
        for series in result.series:
            unit = next((value.unit for value in result.values if value.name.startswith(f"{series.name}, at")), "")
            name = f"{series.name} ({unit})" if unit else series.name
            lines.append(f"| {name} | {' | '.join(shown(y) for _, y in series.points)} |")
        return "\n".join([*lines, ""])

    return table


def _capacity(report: Report) -> str:
    measured = measured_from(report)
    rows = [(size, capacity(Demand(responses=size), measured)) for size in SIZES]
    return "\n".join([_assumptions(measured), "", *_capacity_lines(rows), ""])


def _assumptions(measured: Measured) -> str:
    return (
        f"One relay is assumed to process {measured.tokens_per_relay:,.0f} tokens/s and {measured.messages_per_relay:,.0f} messages/s, "
        f"as measured, and is used to {measured.utilisation:.0%} of that."
    )


def _capacity_lines(rows: list[tuple[int, Capacity]]) -> list[str]:
    head = "open responses | tokens/s | relays | partitions | brokers | Ably connections | messages per month | with one token per message"
    lines = [f"| {head} |", f"|{'---:|' * 8}"]
    for size, need in rows:
        cells = (size, need.tokens_per_second, need.relays, need.partitions, need.brokers, need.connections)
        months = (need.messages_a_month, need.messages_a_month_plain)
        lines.append(
            f"| {' | '.join(f'{cell:,.0f}' for cell in cells)} | {' | '.join(f'{m / 1e6:,.0f} M' for m in months)} |"
        )
    return lines


def _beside(report: Report) -> str | None:
    """A row for each figure, a column for each transport."""
    result = report.find("direct")
    if result is None:
        return None
    rows: dict[str, dict[str, str]] = {}
    for value in result.values:
        name, _, transport = value.name.rpartition(", ")
        rows.setdefault(name, {})[transport] = shown(value.value, value.unit)
    transports = list(dict.fromkeys(transport for row in rows.values() for transport in row))
    lines = [f"{result.load[0].upper()}{result.load[1:]}.", "", f"| direct | {' | '.join(transports)} |"]
    lines.append(f"|---|{'---:|' * len(transports)}")
    lines += [f"| {name} | {' | '.join(row.get(one, '') for one in transports)} |" for name, row in rows.items()]
    return "\n".join([*lines, ""])


SECTIONS: Mapping[str, Callable[[Report], str | None]] = {
    "machine": _machine,
    "targets": _targets,
    "capacity": _capacity,
    "sweep": _varied("sweep"),
    "network": _varied("network"),
    "slow-store": _varied("slow-store"),
    "direct": _beside,
}
