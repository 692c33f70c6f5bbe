"""A finished training's learning curve as a drawing: the dev figure and the mean loss over the steps.

python -m experiments.training.learning_curve FOLDER/training.json --out CURVE.svg
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.drawing import write_drawing
from genir.errors import ArtefactError
from retrievers.index_files import read_json


def draw_curve(training: Path, out: Path) -> None:
    """Draw what `genir.training` recorded. Raises ArtefactError for a file that is no record of a training."""
    record = read_json(training)
    history = record.get("history") if isinstance(record, dict) else None
    if not history or not all({"step", "loss", "dev"} <= set(row) for row in history):
        raise ArtefactError(f"{training}: holds no learning curve; give the training.json of a finished training")

    def draw(figure: Any) -> None:
        figure.set_size_inches(6.4, 2.8)
        dev, loss = figure.subplots(1, 2)
        dev.plot([row["step"] for row in history], [row["dev"] for row in history], marker="o", markersize=3)
        dev.plot([record["best_step"]], [record["best"]], marker="D", color="C0", markeredgecolor="black", label="kept")
        dev.set(xlabel="step", ylabel=record.get("measure", "on dev"))
        dev.legend(frameon=False, loc="lower right")
        trained = [row for row in history if row["step"]]
        loss.plot(
            [row["step"] for row in trained], [row["loss"] for row in trained], marker="o", markersize=3, color="C1"
        )
        loss.set(xlabel="step", ylabel="mean loss since the last figure")
        for axes in (dev, loss):
            axes.grid(axis="y")

    write_drawing(out, draw)


def main(
    training: Annotated[Path, typer.Argument(help="training.json in the folder of what was trained.")],
    out: Annotated[Path, typer.Option("--out", help="SVG file to write.")],
) -> None:
    """Draw a learning curve."""
    draw_curve(training, out)


if __name__ == "__main__":
    typer.run(main)
