"""A benchmark's drawing as a file: SVG by matplotlib (extra "report"); the same figures give the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from genir.errors import MissingExtraError
from genir.manifest import write_atomically

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "genir",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "font.size": 9,
}


def write_drawing(path: Path, draw: Callable[[Any], None]) -> None:
    """Let `draw` fill an empty figure and write it. Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "a drawing of the figures") from None
    with matplotlib.rc_context(_STYLE):
        # No pyplot: it would choose a backend for the whole process, and keep the figure alive.
        figure = Figure(layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="svg", metadata={"Date": None}))
