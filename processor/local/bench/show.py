"""Results as people read them: a table on the terminal, and figures with the digits that mean something."""

from rich.console import Console
from rich.table import Table

from processor.local.bench.results import Result


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
