"""The drawings of an evaluation, as SVG files: hallucination by retriever, risk against coverage, reliability. One column a generator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.drawing import write_drawing
from experiments.rag_evaluation.bench import Arm, Bench
from experiments.rag_evaluation.calibration import probabilities
from experiments.rag_evaluation.figures import Figures
from rag.measures.calibration import reliability_diagram
from rag.measures.selective import risk_coverage

PLOTS = ("hallucination", "risk-coverage", "reliability")
_WIDTH, _HEIGHT = 4.2, 3.2  # inches of one column


def write_plots(bench: Bench, arms: Sequence[Arm], found: Figures, out: Path, stem: str) -> list[str]:
    """Write OUT/<stem>.<plot>.svg for every plot; returns their names. Raises MissingExtraError without matplotlib."""
    by_generator = {generator: [arm for arm in arms if arm.generator == generator] for generator in bench.readers}
    drawn = {
        "hallucination": lambda axes, several: _bars(axes, bench, several, found),
        "risk-coverage": lambda axes, several: _curves(axes, bench.config.loss, several),
        "reliability": lambda axes, several: _reliability(axes, bench.config.loss, several),
    }
    names = []
    for plot in PLOTS:

        def draw(canvas: Any, plot: str = plot) -> None:
            canvas.set_size_inches(_WIDTH * len(by_generator), _HEIGHT)
            columns = canvas.subplots(1, len(by_generator), squeeze=False)[0]
            for axes, (generator, several) in zip(columns, by_generator.items(), strict=True):
                drawn[plot](axes, several)
                axes.set_title(bench.labels[generator])
                axes.grid(True, axis="x" if plot == "hallucination" else "both")

        names.append(f"{stem}.{plot}.svg")
        write_drawing(out / names[-1], draw)
    return names


def _bars(axes: Any, bench: Bench, arms: Sequence[Arm], found: Figures) -> None:
    """The loss over all questions, each arm with its interval; the lighter part is abstention."""
    loss = bench.config.loss
    rows = [found[bench.name(arm.retriever, arm.generator)] for arm in arms]
    for place, row in enumerate(rows):
        wrong, silent = row[loss], row["abstention"]
        axes.barh(place, wrong["mean"], color="#b5483a", height=0.6)
        axes.barh(place, silent["mean"], left=wrong["mean"], color="#dddddd", height=0.6)
        around = [[wrong["mean"] - wrong["low"]], [wrong["high"] - wrong["mean"]]]
        axes.errorbar([wrong["mean"]], [place], xerr=around, fmt="none", ecolor="black", capsize=3)
    axes.set_yticks(range(len(arms)), [arm.retriever for arm in arms])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"{loss} (red), abstention (grey): share of questions")


def _curves(axes: Any, loss: str, arms: Sequence[Arm]) -> None:
    """Risk against coverage as far as the arm answers; arms without confidences have no curve."""
    for arm in arms:
        values = arm.answered.values
        order = list(values["coverage"])
        given = [values["coverage"][one] > 0 for one in order]
        sure = [values["confidence"][one] for one in order]
        if not any(sure):
            continue
        wrong = [values[loss].get(one, values["hallucination"][one]) for one in order]
        curve = risk_coverage(sure, wrong, given)
        axes.plot(curve.coverage[: curve.answered], curve.risk[: curve.answered], label=arm.retriever)
    _frame(axes, "coverage", f"risk ({loss} of answered)")


def _reliability(axes: Any, loss: str, arms: Sequence[Arm]) -> None:
    """Accuracy against the probability that calibration gives, by bins; size by the number of answers."""
    axes.plot([0, 1], [0, 1], color="#999999", linestyle=(0, (4, 3)), linewidth=1)
    for arm in arms:
        sure, right = probabilities(arm.answered.values, arm.calibration, loss)
        if not any(sure):
            continue
        bins = [one for one in reliability_diagram(sure, right) if one.count]
        sizes = [12 + 120 * one.count / len(sure) for one in bins]
        points = axes.scatter(
            [one.confidence for one in bins], [one.accuracy for one in bins], s=sizes, label=arm.retriever
        )
        axes.plot([one.confidence for one in bins], [one.accuracy for one in bins], color=points.get_facecolor()[0])
    _frame(axes, "probability of being right (calibrated on dev)", "share of right answers")


def _frame(axes: Any, across: str, up: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)


def curves(values: Mapping[str, Mapping[str, float]], loss: str, points: int = 50) -> list[dict[str, float]]:
    """Points of a row's risk-coverage curve for the file of details: {coverage, risk, threshold}, evenly over what was answered."""
    order = list(values["coverage"])
    given = [values["coverage"][one] > 0 for one in order]
    sure = [values["confidence"][one] for one in order]
    if not any(sure):
        return []
    wrong = [values[loss].get(one, values["hallucination"][one]) for one in order]
    curve = risk_coverage(sure, wrong, given)
    n = curve.answered
    places = sorted({round((i + 1) * n / min(n, points)) - 1 for i in range(min(n, points))})
    return [
        {
            "coverage": round(float(curve.coverage[i]), 4),
            "risk": round(float(curve.risk[i]), 4),
            "threshold": round(float(curve.threshold[i]), 4),
        }
        for i in places
    ]
