"""The figures of `genir bench constraint` against the number of documents, as a drawing that stands alone (SVG)."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from genir.errors import MissingExtraError
from genir.manifest import write_atomically

_PANELS = (
    ("build_s", "build, seconds"),
    ("bytes_per_id", "bytes per identifier"),
    ("step_us", "step of 640 beams, µs"),
    ("search_ms", "search, 9 x 70 beams, ms"),
)
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "genir",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "font.size": 9,
}


def write_plot(path: Path, series: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw rows by name; one that lacks a figure is left out of that panel. Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "a plot of the figures") from None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8, 6), layout="constrained")
        FigureCanvasSVG(figure)
        for axes, (key, label) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
            for (name, rows), line in zip(series.items(), ("o-", "s--", "^:", "v:"), strict=False):
                points = [(row["docs"], row[key]) for row in rows if row.get(key) is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), line, label=name)
            axes.set(xscale="log", yscale="log", xlabel="documents", title=label)
        figure.axes[0].legend(fontsize=8)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    write_atomically(path, lambda temporary: cast(None, temporary.write_text(text, encoding="utf-8")))
