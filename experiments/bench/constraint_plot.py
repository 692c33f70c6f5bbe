"""The figures of `genir bench constraint` against the number of documents, as a drawing."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.drawing import write_drawing

_PANELS = (
    ("build_s", "build, seconds"),
    ("bytes_per_id", "bytes per identifier"),
    ("step_us", "step of 640 beams, µs"),
    ("search_ms", "search, 9 x 70 beams, ms"),
)
Series = Mapping[str, Sequence[Mapping[str, Any]]]


def write_plot(path: Path, series: Series) -> None:
    """Draw rows by name; one that lacks a figure is left out of that panel. Raises MissingExtraError without matplotlib."""
    write_drawing(path, partial(_draw, series))


def _draw(series: Series, figure: Any) -> None:
    figure.set_size_inches(8, 6)
    for axes, (key, label) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        for (name, rows), line in zip(series.items(), ("o-", "s--", "^:", "v:"), strict=False):
            points = [(row["docs"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), line, label=name)
        axes.grid(True)
        axes.set(xscale="log", yscale="log", xlabel="documents", title=label)
    figure.axes[0].legend(fontsize=8)
