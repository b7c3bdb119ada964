"""Runs scenarios one after the other on one broker, and shows, writes and draws what they came to."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from processor.local.bench.results import Report, Result, merged, now, read_report, this_machine, write_report
from processor.local.bench.scenarios import SCENARIOS, Scene, Wanted
from processor.local.bench.show import table
from processor.local.kafka import VERSION, LocalKafka


async def run_bench(scenarios: Sequence[str], wanted: Wanted, *, json: Path | None) -> Report:
    """Raises Unsound at the first scenario that gives no figures; those before it are shown and written by then."""
    console = Console()
    machine = this_machine(f"Apache Kafka {VERSION}")
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="tokenstream-bench-") as directory:
        async with LocalKafka(data=Path(directory) / "kafka") as kafka:
            for name in scenarios:
                scene = Scene(kafka, Path(directory) / name, lambda what: console.print(f"[dim]{what}…[/dim]"))
                for result in await SCENARIOS[name](scene, wanted):
                    table(console, result)
                    results.append(result)
                if json is not None:
                    written = merged(read_report(json), Report(at=now(), machine=machine, results=results))
                    write_report(json, written)
    return Report(at=now(), machine=machine, results=results)
