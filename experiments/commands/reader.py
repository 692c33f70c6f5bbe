"""`genir train-reader`: readers that are trained on questions with their passages."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Data

reader_app = typer.Typer(help="Train a reader on questions whose passages and answers are known.", no_args_is_help=True)


@reader_app.command("span")
def train_span(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the reader to make.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings.", show_default="built-in defaults")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting, e.g. max_questions=20000 or training.learning_rate=5e-5; may be repeated.",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            help="Where to start: an encoder's name or folder, or the folder of a span reader, which then learns on.",
            show_default="config's",
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            metavar="DIR",
            help="Data folder whose dev and test questions, and their passages, must not be learnt from; may be repeated.",
            show_default="none",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            min=0,
            help="Stop at the first step after so long and keep the best weights; 0 for no limit.",
            show_default="config's",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint that an interrupted training left in --out.")
    ] = False,
) -> None:
    """Teach an encoder to mark the answer in passages, or to say that none is there. The reader copies, so every answer has its place.

    The dev split is read at every evaluation and the best weights are kept; then its probabilities are calibrated on dev. Ctrl-C leaves
    a checkpoint; --resume goes on from there. Use what is made with --generator span:DIR.
    """
    from experiments.span.learning import read_config
    from experiments.span.learning import train_span as run

    facts = run(data, read_config(config, settings or [], encoder, max_minutes), out, resume, exclude or [])["facts"]
    chosen = facts["calibration"]
    print(
        f"{out}: {facts['examples']} examples, {facts['training_seconds']:.0f} s; {facts['measure']}: {facts['start_dev']:.4f} "
        f"before training, {facts['saved_dev']:.4f} now; temperature {chosen['temperature']:.2f}, abstains below "
        f"{chosen['min_confidence']:.2f}"
    )


@reader_app.command("pack")
def pack(
    reader: Annotated[Path, typer.Option("--reader", help="Folder made by `genir train-reader span`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the packed reader to make.", show_default=False)],
) -> None:
    """Store a span reader's weights in int8: a quarter of the size, for shipping. It is used as before."""
    from experiments.span.learning import pack_reader

    sizes = pack_reader(reader, out)["outputs"]
    print(f"{out}: {sum(sizes.values()) / 1e6:.1f} MB")
