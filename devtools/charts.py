"""What the charts of all reports share: colours, axes for light and dark pages alike, and SVG without a date.

matplotlib takes a second to import: it is imported where a chart is drawn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

INK = "#6b7280"
COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777")


def new_figure(size: tuple[float, float], panels: int = 1) -> tuple[Any, Any]:
    """Returns a figure, and its axes: a sequence of them, one above the other, where there are several panels."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "tokenstream", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    return plt.subplots(panels, 1, figsize=size, layout="constrained", sharex=True)


def line(axes: Any, points: Sequence[tuple[float, float]], label: str, colour: int, *, marked: bool = False) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    axes.plot(xs, ys, label=label, color=COLOURS[colour], linewidth=1.6, marker="o" if marked else None, markersize=4)


def save(figure: Any, file: Path) -> None:
    """Styles all axes, and writes the SVG."""
    import matplotlib.pyplot as plt

    for axes in figure.axes:
        _style(axes)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _style(axes: Any) -> None:
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK, which="both")
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(INK)
    axes.grid(visible=True, color=INK, alpha=0.25, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, labelcolor=INK)
