"""Draws memory and lag while the realtime service is away."""

from collections.abc import Sequence
from pathlib import Path

from devtools.charts import INK, line, new_figure, save
from devtools.faultlab.results import Sample

LABELS = {"tokenstream": "tokenstream relay", "plain": "plain program"}


def draw_memory(samples: Sequence[Sample], path: Path) -> None:
    """Draws two panels over one time axis; the outage is grey."""
    figure, (memory, lag) = new_figure((9, 5.6), panels=2)
    away = [sample.at for sample in samples if sample.down]
    for colour, (name, label) in enumerate(LABELS.items()):
        if all(name in sample.memory for sample in samples):
            line(memory, [(sample.at, sample.memory[name]) for sample in samples], label, colour)
            line(lag, [(sample.at, sample.lag[name] / 1000) for sample in samples], label, colour)
    for panel, title in ((memory, "MiB resident"), (lag, "thousands of records not yet committed")):
        if away:
            panel.axvspan(away[0], away[-1], color=INK, alpha=0.18, lw=0, label="realtime service down")
        panel.set_ylabel(title)
        panel.set_ylim(bottom=0)
    lag.set_xlabel("seconds")
    save(figure, path)
