"""Plots for report.html, as inline SVG by matplotlib (extra "report").

Colours are written as CSS variables of the page, so that one drawing serves light and dark; letters stay letters in
the page's own font, so that they can be searched and selected; ids carry the plot's name, so that several drawings can
stand on one page. The same figures give the same bytes.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from genir.errors import MissingExtraError

# Colours that stand for the page's variables: drawn with the first, written as the second.
INK, MUTED, LINE, ACCENT, BAR, PLAIN, ON_BAR, CARD = (f"#{n:02d}{n:02d}{n:02d}" for n in range(1, 9))
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    ACCENT: "accent",
    BAR: "bar",
    PLAIN: "plain",
    ON_BAR: "on-bar",
    CARD: "card",
}
_WIDTH = 4.5  # inches; 324 points, so that ten-point letters stay legible on a phone
_LONGEST_LABEL = 24
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "genir",
    "text.parse_math": False,  # a "$" in a run's name is a "$"
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
}


def interval_bars(
    name: str, alt: str, labels: Sequence[str], intervals: Sequence[Mapping[str, float]], accented: Sequence[bool]
) -> str:
    """One horizontal bar a label, first on top, its 95 % interval as an error bar, its mean written behind.

    `intervals` hold mean, low and high in 0..1; bars that are not `accented` are grey.
    """

    def draw(axes: Any) -> None:
        rows = range(len(labels))
        means = [row["mean"] for row in intervals]
        axes.barh(rows, means, height=0.62, color=[BAR if one else PLAIN for one in accented])
        below = [max(0.0, row["mean"] - row["low"]) for row in intervals]
        above = [max(0.0, row["high"] - row["mean"]) for row in intervals]
        axes.errorbar(means, rows, xerr=[below, above], fmt="none", color=INK, ecolor=INK, elinewidth=1.3, capsize=3.5)
        axes.set_yticks(rows, [_short(label) for label in labels])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.19)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
        for row in rows:
            right = max(means[row], intervals[row]["high"])
            axes.text(right + 0.025, row, f"{means[row]:.3f}", va="center", fontsize=9.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")

    return _svg(name, alt, 0.62 + 0.3 * len(labels), draw)


def entropy_bars(name: str, alt: str, levels: Sequence[Mapping[str, Any]]) -> str:
    """Bits of entropy at each position of the identifiers; an outline says how many even use would give."""

    def draw(axes: Any) -> None:
        positions = [level["level"] + 1 for level in levels]
        entropies = [level["entropy_bits"] for level in levels]
        possible = [
            bits / level["balance"] if level["balance"] > 0 else 0.0
            for bits, level in zip(entropies, levels, strict=True)
        ]
        axes.bar(positions, possible, width=0.7, color="none", edgecolor=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
        axes.bar(positions, entropies, width=0.7, color=BAR)
        if len(levels) <= 10:
            for position, bits in zip(positions, entropies, strict=True):
                axes.text(position, bits / 2, f"{bits:.2f}", ha="center", va="center", color=ON_BAR, fontsize=9)
        axes.set_xlabel("position in the identifier")
        axes.set_ylabel("bits")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.tick_params(axis="y", labelcolor=MUTED)

    return _svg(name, alt, 2.7, draw)


def dev_curve(name: str, alt: str, history: Sequence[Mapping[str, float]], best_step: int, label: str) -> str:
    """The dev figure over the steps, with the untrained start and the step that was kept marked."""

    def draw(axes: Any) -> None:
        steps, values = [row["step"] for row in history], [row["dev"] for row in history]
        axes.axhline(values[0], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(steps, values, color=ACCENT, linewidth=2, marker="o", markersize=4)
        axes.plot(
            steps[:1],
            values[:1],
            marker="o",
            markersize=8,
            markerfacecolor=CARD,
            markeredgecolor=INK,
            linestyle="none",
        )
        kept = steps.index(best_step)
        axes.plot(
            [best_step], [values[kept]], marker="D", markersize=8, color=ACCENT, markeredgecolor=INK, linestyle="none"
        )
        spread = (max(values) - min(values)) or 0.1
        axes.set_ylim(min(values) - 0.24 * spread, max(values) + 0.24 * spread)
        start_below = values[0] <= sum(values) / len(values)
        axes.annotate(
            f"untrained start {values[0]:.3f}",
            (steps[0], values[0]),
            xytext=(8, -13 if start_below else 8),
            textcoords="offset points",
        )
        if kept:
            axes.annotate(
                f"kept {values[kept]:.3f}",
                (best_step, values[kept]),
                xytext=(0, 9),
                textcoords="offset points",
                ha=_side(kept, steps),
            )
        _steps(axes, label)

    return _svg(name, alt, 2.7, draw)


def loss_curve(name: str, alt: str, history: Sequence[Mapping[str, float]]) -> str:
    """The mean training loss between two evaluations; the untrained start has none."""

    def draw(axes: Any) -> None:
        trained = [row for row in history if row["step"] > 0]
        axes.plot(
            [row["step"] for row in trained],
            [row["loss"] for row in trained],
            color=INK,
            linewidth=2,
            marker="o",
            markersize=4,
        )
        axes.set_xlim(left=0)
        _steps(axes, "loss")

    return _svg(name, alt, 2.7, draw)


def _steps(axes: Any, label: str) -> None:
    axes.set_xlabel("training step")
    axes.set_ylabel(label)
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.grid(axis="y")


def _side(index: int, points: Sequence[float]) -> str:
    """Where a label must be anchored to stay within the axes."""
    return "left" if index == 0 else "right" if index > 0.6 * (len(points) - 1) else "center"


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


def _svg(name: str, alt: str, height: float, draw: Any) -> str:
    """Run `draw` on fresh axes; returns one <svg> element. Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "report.html") from None
    with matplotlib.rc_context(_STYLE):
        # No pyplot: it would choose a backend for the whole process, and keep the figure alive.
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _for_page(stream.getvalue(), name, alt)


def _for_page(svg: str, name: str, alt: str) -> str:
    """Matplotlib's file as an element of a page: described, in the page's colours and font, with ids of its own."""
    head, body = svg[svg.index("<svg") :].split(">", 1)
    view_box = re.search(r'viewBox="[^"]*"', head)
    assert view_box is not None
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # its "*" would reach the whole page

    def mend(tag: re.Match[str]) -> str:
        """Within tags only: labels are the user's."""
        text = re.sub(r'\bid="', f'id="{name}-', tag[0])
        text = text.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
        text = re.sub(r"font-family: [^;]*; ", "", text)
        return re.sub("|".join(_VARIABLES), lambda colour: f"var(--{_VARIABLES[colour[0]]})", text)

    body = re.sub(r"<[^>]*>", mend, body)
    return f'<svg role="img" aria-label="{html.escape(alt)}" {view_box[0]} xmlns:xlink="http://www.w3.org/1999/xlink">{body.strip()}'
