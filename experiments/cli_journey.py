"""`genir demo` and `genir experiment ...`: whole experiments behind one command."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli_options import Data, Json

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
    from experiments.learning import ModelConfig
    from experiments.scoring import metrics_table
    from experiments.tables import show

    scored = run(data, out, ModelConfig.read(config), work, tuple(scheme or SCHEMES))
    if as_json:
        show(scored["rows"], [], as_json=True)
        return
    rows, columns = metrics_table(scored)
    show(rows, columns, title=f"{data}, test: {scored['queries']} queries (* p < .05 against bm25)")
