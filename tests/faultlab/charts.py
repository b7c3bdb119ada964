"""Draws memory and lag while the realtime service is away."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from faultlab.results import Sample

COLOURS = {"tokenstream": "#0b7285", "plain": "#e8590c"}
LABELS = {"tokenstream": "tokenstream relay", "plain": "plain program"}


def draw_memory(samples: Sequence[Sample], path: Path) -> None:
    """Two panels over one time axis; the outage is grey."""
    mpl.rcParams["svg.hashsalt"] = "tokenstream"
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    memory, lag = figure.subplots(2, 1, sharex=True)
    times = [sample.at for sample in samples]
    away = [sample.at for sample in samples if sample.down]
    for name, colour in COLOURS.items():
        if all(name in sample.memory for sample in samples):
            memory.plot(times, [sample.memory[name] for sample in samples], color=colour, label=LABELS[name])
            lag.plot(times, [sample.lag[name] / 1000 for sample in samples], color=colour, label=LABELS[name])
    for panel, title in ((memory, "Resident memory, MiB"), (lag, "Records not yet committed, thousands")):
        if away:
            panel.axvspan(away[0], away[-1], color="#868e96", alpha=0.18, lw=0, label="realtime service down")
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    memory.legend(loc="upper left", fontsize=9, frameon=False)
    lag.set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
