"""Runs scenarios one after the other on one broker; shows, writes and draws their results."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from devtools.bench.document import fill_file
from devtools.bench.plots import draw
from devtools.bench.results import (
    Report,
    Result,
    Unsound,
    merged,
    now,
    read_report,
    this_machine,
    write_report,
)
from devtools.bench.scenarios import SCENARIOS, Scene, Wanted
from devtools.bench.show import table
from devtools.kafka import VERSION, LocalKafka
from processor.errors import TokenstreamError


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where figures go besides the terminal; None is nowhere."""

    json: Path | None = None
    images: Path | None = None
    document: Path | None = None

    def check(self) -> None:
        """Raises what would only be found out after minutes."""
        if self.json is not None:
            read_report(self.json)

    def write(self, report: Report) -> None:
        """With a JSON file, the figures of other scenarios in it are kept, drawn and printed too."""
        if self.json is not None:
            report = merged(read_report(self.json), report)
            write_report(self.json, report)
        if self.images is not None:
            draw(report, self.images)
        if self.document is not None:
            fill_file(self.document, report)


async def run_bench(scenarios: Sequence[str], wanted: Wanted, outputs: Outputs) -> Report:
    """A scenario that gives no figures stops none of the others; at the end Unsound is raised, after the rest is written."""
    outputs.check()
    console = Console()
    machine = this_machine(f"Apache Kafka {VERSION}")
    results: list[Result] = []
    unsound: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tokenstream-bench-") as directory:
        async with LocalKafka(data=Path(directory) / "kafka") as kafka:
            for name in scenarios:
                scene = Scene(kafka, Path(directory) / name, lambda what: console.print(f"[dim]{what}…[/dim]"))
                try:
                    found = await SCENARIOS[name](scene, wanted)
                except TokenstreamError as error:
                    unsound.append(f"{name}: {error}")
                    console.print(f"[bold red]{name} gives no figures.[/bold red]")
                    continue
                for result in found:
                    table(console, result)
                results += found
    report = Report(at=now(), machine=machine, results=results)
    if results:
        outputs.write(report)
    if unsound:
        raise Unsound("\n".join(unsound))
    return report


def show_again(json: Path, outputs: Outputs) -> None:
    """Raises Unsound where there is nothing to show."""
    report = read_report(json)
    if report is None:
        raise Unsound(f"There is no {json}: `tokenstream bench standard --json {json}` makes it.")
    outputs.check()
    for result in report.results:
        table(Console(), result)
    outputs.write(report)
