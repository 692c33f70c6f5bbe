"""`genir train-reader`: readers that are trained on questions with their passages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.commands.options import Config, Data, Made, MaxMinutes, Replace, Resume, Settings

Start = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Where to start: an encoder's name or folder, or the folder of a reader of this kind, which then learns on.",
        show_default="config's",
    ),
]
Exclude = Annotated[
    list[Path] | None,
    typer.Option(
        "--exclude",
        metavar="DIR",
        help="Data folder whose dev and test questions, and their passages, must not be learnt from; may be repeated.",
        show_default="none",
    ),
]
reader_app = typer.Typer(help="Train a reader on questions whose passages and answers are known.", no_args_is_help=True)


@reader_app.command("span")
def train_span(
    data: Data,
    out: Made,
    config: Config = None,
    settings: Settings = None,
    encoder: Start = None,
    exclude: Exclude = None,
    max_minutes: MaxMinutes = None,
    resume: Resume = False,
    replace: Replace = False,
) -> None:
    """Teach an encoder to mark the answer in passages, or to say that none is there. The reader copies, so every answer has its place.

    The dev split is read at every evaluation and the best weights are kept; then its probabilities are calibrated on dev. Ctrl-C leaves
    a checkpoint; --resume goes on from there. Use what is made with --generator span:DIR.
    """
    from experiments.span.learning import read_config
    from experiments.span.learning import train_span as run

    chosen = read_config(config, settings or [], encoder, max_minutes)
    _tell(out, run(data, chosen, out, resume, exclude or [], replace)["facts"])


@reader_app.command("llama")
def train_llama(
    data: Data,
    out: Made,
    cloze: Annotated[
        list[Path] | None,
        typer.Option(
            "--cloze",
            metavar="DIR",
            help="Data folder whose corpus gives cloze questions, labelled or not; may be repeated.",
            show_default="none",
        ),
    ] = None,
    config: Config = None,
    settings: Settings = None,
    encoder: Start = None,
    exclude: Exclude = None,
    max_minutes: MaxMinutes = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default="config's")
    ] = None,
    resume: Resume = False,
    replace: Replace = False,
) -> None:
    """Teach a small LLaMA to copy its answer out of passages, or to say that none is there.

    It only copies, as the span reader does: it writes no words of its own, and without passages it always abstains. It starts from a
    pretrained encoder. The dev split is read at every evaluation and the best weights are kept; then its confidence is
    calibrated on dev. Ctrl-C leaves a checkpoint; --resume goes on from there. Use what is made with --generator DIR: the project's LLaMA
    engine serves it.
    """
    from experiments.llama_reader.learning import read_config
    from experiments.llama_reader.learning import train_llama as run

    chosen_settings = [*(settings or []), *([f"device={device}"] if device else [])]
    chosen_config = read_config(config, chosen_settings, encoder, max_minutes)
    _tell(out, run(data, chosen_config, out, resume, exclude or [], cloze or [], replace)["facts"])


@reader_app.command("pack")
def pack(
    reader: Annotated[
        Path, typer.Option("--reader", help="Folder made by `genir train-reader span` or `llama`.", show_default=False)
    ],
    out: Made,
    replace: Replace = False,
) -> None:
    """Store a reader's weights in int8: a quarter of the size, for shipping. It is used as before."""
    from experiments.llama_reader.learning import pack_reader as pack_llama
    from experiments.span.learning import pack_reader as pack_span
    from rag.llama_reader.reader import SETTINGS_FILE

    packed = (pack_llama if (reader / SETTINGS_FILE).is_file() else pack_span)(reader, out, replace)
    print(f"{out}: {sum(packed['outputs'].values()) / 1e6:.1f} MB")


def _tell(out: Path, facts: Mapping[str, Any]) -> None:
    chosen = facts["calibration"]
    print(
        f"{out}: {facts['examples']} examples, {facts['training_seconds']:.0f} s; {facts['measure']}: {facts['start_dev']:.4f} "
        f"before training, {facts['saved_dev']:.4f} now; temperature {chosen['temperature']:.2f}, abstains below "
        f"{chosen['min_confidence']:.2f}"
    )
