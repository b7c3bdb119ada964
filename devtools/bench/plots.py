"""Draws the plots of a report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devtools.bench.results import Report, Result
from devtools.charts import COLOURS, INK, line, new_figure, save

SIZE = (7.2, 3.6)


def draw(report: Report, directory: Path) -> list[Path]:
    """Draw what the report has series for. The files written."""
    written = []
    for name, (scenarios, plot) in PLOTS.items():
        results = [found for scenario in scenarios if (found := report.find(scenario)) is not None]
        if not results:
            continue
        figure, axes = new_figure(SIZE)
        plot(axes, results)
        written.append(directory / f"bench-{name}.svg")
        save(figure, written[-1])
    return written


def _throughput(axes: Any, results: Sequence[Result]) -> None:
    for colour, result in enumerate(results):
        for value in result.values:
            ours = result.scenario == "against" and value.name == "tokenstream"  # drawn as the backlog already
            if not ours and value.unit == "tokens/s" and "processor second" not in value.name:
                name = result.title if value.name == "tokens a second" else value.name
                bar = axes.barh(name, value.value, color=COLOURS[colour])
                axes.bar_label(bar, labels=[f" {value.value:,.0f}"], color=INK)
    axes.set_xscale("log")
    axes.set_xlim(left=100)
    axes.xaxis.set_major_formatter(_with_commas)
    axes.set_xlabel("tokens a second (logarithmic)")
    axes.margins(x=0.25)


def _with_commas(value: float, _position: int) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _commas(axes: Any, *which: str) -> None:
    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(_with_commas)


def _latency(axes: Any, results: Sequence[Result]) -> None:
    names = ("latency, p50", "latency, p99", "first token, p50", "first token, p99")
    for colour, name in enumerate(names):
        line(axes, results[0].line(name), name, colour, marked=True)
    _over_load(axes, "ms, produced until received", [x for x, _ in results[0].line(names[0])])
    axes.set_yscale("log")
    _commas(axes, "y")


def _tokens_per_frame(axes: Any, results: Sequence[Result]) -> None:
    line(axes, results[0].line("tokens per frame"), "tokens per frame", 0, marked=True)
    _over_load(axes, "tokens per frame", [x for x, _ in results[0].line("tokens per frame")])
    axes.set_ylim(bottom=0)


def _over_load(axes: Any, label: str, rates: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(rates, labels=[f"{rate:,.0f}" for rate in rates])
    axes.minorticks_off()
    axes.set_xlabel("tokens a second, over 100 responses")
    axes.set_ylabel(label)


def _memory(axes: Any, results: Sequence[Result]) -> None:
    for colour, result in enumerate(results):
        line(axes, result.line("memory"), result.title, colour)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MiB resident")


def _scaling(axes: Any, results: Sequence[Result]) -> None:
    points = results[0].line("tokens a second")
    bars = axes.bar(
        [f"{relays:.0f}" for relays, _ in points], [rate for _, rate in points], color=COLOURS[0], width=0.5
    )
    axes.bar_label(bars, labels=[f"{rate:,.0f}" for _, rate in points], color=INK)
    axes.set_xlabel("relays, on one machine")
    axes.set_ylabel("tokens a second")
    _commas(axes, "y")


def _recovery(axes: Any, results: Sequence[Result]) -> None:
    result = results[0]
    points = result.line("tokens a second")
    axes.fill_between([x for x, _ in points], [y for _, y in points], color=COLOURS[0], alpha=0.6, step="post")
    for colour, (name, moment) in enumerate(result.marks, start=1):
        axes.axvline(moment, color=COLOURS[colour], linestyle="--", linewidth=1.2, label=name)
    axes.set_xlabel("seconds")
    axes.set_ylabel("tokens received a second")
    _commas(axes, "y")


Plot = Callable[[Any, Sequence[Result]], None]
PLOTS: dict[str, tuple[tuple[str, ...], Plot]] = {
    "throughput": (("backlog", "one-token", "against"), _throughput),
    "latency": (("sweep",), _latency),
    "tokens-per-frame": (("sweep",), _tokens_per_frame),
    "memory": (("ten-million",), _memory),
    "memory-backlog": (("backlog",), _memory),
    "scaling": (("scaling",), _scaling),
    "recovery": (("crash",), _recovery),
}
