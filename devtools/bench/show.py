"""Shows results to people: a table on the terminal, and figures with significant digits."""

from rich.console import Console
from rich.table import Table

from devtools.bench.model import Capacity, Demand, Measured
from devtools.bench.results import Result


def shown(value: float, unit: str = "") -> str:
    """Three digits that mean something; whole numbers above that, in groups of three."""
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def table(console: Console, result: Result) -> None:
    lines = Table(title=result.title, caption=f"{result.load}; seed {result.seed}", title_justify="left")
    lines.add_column(result.scenario)
    lines.add_column("", justify="right")
    for value in result.values:
        lines.add_row(value.name, shown(value.value, value.unit))
    console.print(lines)


def needs(console: Console, demand: Demand, measured: Measured, need: Capacity, price: float | None) -> None:
    """Prints what a deployment needs, and the measurements that the estimate is based on."""
    lines = Table(title=f"{demand.responses:,} responses open at once", title_justify="left", show_header=False)
    lines.add_column("")
    lines.add_column("", justify="right")
    for name, value in _needed(demand, measured, need, price):
        lines.add_row(name, value)
    console.print(lines)


def _needed(demand: Demand, measured: Measured, need: Capacity, price: float | None) -> list[tuple[str, str]]:
    million = 1e6
    rows = [
        ("tokens", f"{need.tokens_per_second:,.0f} /s"),
        ("written to Kafka, before copies", f"{need.bytes_per_second / million:,.0f} MB/s"),
        ("tokens per frame", f"{need.tokens_per_frame:,.1f}"),
        ("a token waits for its frame, at most", f"{need.roll_up_delay * 1000:,.0f} ms"),
        ("messages published", f"{need.messages_per_second:,.0f} /s"),
        ("relays", f"{need.relays:,} (bound by {need.bound_by})"),
        ("memory of a relay", f"{need.memory_per_relay / 2**20:,.0f} MiB"),
        ("partitions of tokens and of responses", f"{need.partitions:,}"),
        ("Kafka brokers", f"{need.brokers:,}"),
        ("Ably connections", f"{need.connections:,}"),
        ("ABLY_MAX_CONNECTIONS", f"{measured.connections_per_relay:,}"),
        (f"messages a month, {demand.subscribers} reading", f"{need.messages_a_month / million:,.0f} million"),
        ("the same, one token a message", f"{need.messages_a_month_plain / million:,.0f} million"),
    ]
    if price is not None:
        rows.append(("price of these messages", f"{need.messages_a_month / million * price:,.0f}"))
        rows.append(("one token a message", f"{need.messages_a_month_plain / million * price:,.0f}"))
    capacity = f"{measured.tokens_per_relay:,.0f} tokens/s and {measured.messages_per_relay:,.0f} messages/s"
    return [*rows, ("a relay does, at most", capacity), ("a relay is loaded to", f"{measured.utilisation:.0%}")]
