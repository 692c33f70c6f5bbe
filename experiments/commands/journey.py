"""`genir demo` and `genir experiment ...`: whole experiments behind one command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Data, Json

experiment_app = typer.Typer(help="Comparisons that make the figures under results/.", no_args_is_help=True)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder; what is finished there is reused.")] = Path(
        "runs/demo"
    ),
    as_json: Json = False,
) -> None:
    """The whole journey on the embedded data set, offline: identifiers, training, search, comparison, answers, report.

    Takes some minutes on two cores. A second run reuses every finished stage.
    """
    from experiments.journey import run_demo

    run_demo(out, as_json)


@experiment_app.command("schemes")
def schemes(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for the figures.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file as for `genir train`.", show_default="built-in defaults")
    ] = None,
    work: Annotated[
        Path, typer.Option("--work", help="Folder for identifiers, models and runs; finished ones are reused.")
    ] = Path("runs/schemes"),
    scheme: Annotated[
        list[str] | None,
        typer.Option("--scheme", help="May be repeated.", show_default="residual, hierarchical, atomic, random"),
    ] = None,
    as_json: Json = False,
) -> None:
    """One model and one training over several identifier schemes, beside BM25, dense and their hybrid."""
    from experiments.experiment_schemes import SCHEMES, run
    from experiments.scoring import metrics_table
    from experiments.tables import show
    from experiments.training.model_config import ModelConfig

    scored = run(data, out, ModelConfig.read(config), work, tuple(scheme or SCHEMES))
    if as_json:
        show(scored["rows"], [], as_json=True)
        return
    rows, columns = metrics_table(scored)
    show(rows, columns, title=f"{data}, test: {scored['queries']} queries (* p < .05 against bm25)")


@experiment_app.command("run")
def run_experiment(
    name: Annotated[str, typer.Argument(help="Experiment: quality, labels or ablation.")],
    dataset: Annotated[Path, typer.Option("--dataset", help="Data folder.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the figures.", show_default=False)],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="TOML file of the experiment.", show_default="the one of its name in experiments/configs"
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work", help="Folder for models and runs; finished ones are reused.", show_default="runs/quality/DATASET"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run an experiment on one data set and write its figures to OUT; rows of quality join OUT/summary.json.

    quality: the best generative model beside tuned BM25, a fine-tuned dense encoder and their hybrid, with 95 % intervals and
    paired tests, on all questions and on those about documents with and without training questions.
    labels: the same with 1 %, 10 % and all of the training questions.
    ablation: our model with one switch changed at a time.
    An interrupted run goes on where it was.
    """
    from experiments.experiments import EXPERIMENTS
    from experiments.tables import show
    from genir.errors import unknown_name

    if name not in EXPERIMENTS:
        raise unknown_name("experiment", name, EXPERIMENTS)
    summary = EXPERIMENTS[name](dataset, out, config, work or Path("runs") / "quality" / dataset.resolve().name)
    if as_json:
        show([{"data": split, "systems": systems} for split, systems in summary.items()], [], as_json=True)
        return
    rows = [
        {"data": split, "system": system} | {measure: _cell(found) for measure, found in row.items()}
        for split, systems in summary.items()
        for system, row in systems.items()
    ]
    marks = (
        "* p < .05 against bm25, + against hybrid" if name != "ablation" else "* p < .05 against the whole, or the base"
    )
    show(rows, list(rows[0]), title=f"{name}, {dataset} ({marks}, corrected)")


def _cell(found: Mapping[str, float]) -> str:
    """A mean with its interval, and a mark for each system that it differs from."""
    marks = ""
    for key, p in found.items():
        if key.startswith("p_") and key.endswith("_corrected") and p < 0.05:
            marks += "+" if key == "p_hybrid_corrected" else "*"
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]{marks}"
