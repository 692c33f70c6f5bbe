"""Options that several commands share, so that they read and behave alike."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_ENCODER = "all-MiniLM-L6-v2"  # genir.embedding's; a test holds them equal, since importing that imports torch

Data = Annotated[Path, typer.Option("--data", help="Data folder, made by `genir data import`.", show_default=False)]
DocIDs = Annotated[Path, typer.Option("--docids", help="Folder made by `genir docids build`.", show_default=False)]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings.", show_default="built-in defaults")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting, e.g. training.epochs=2; may be repeated.",
        show_default=False,
    ),
]
Made = Annotated[Path, typer.Option("--out", help="Folder to make.", show_default=False)]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        "--max-minutes",
        min=0,
        help="Stop at the first step after so long and keep the best weights; 0 for no limit.",
        show_default="config's",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the checkpoint that an interrupted training left in --out.")
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Train over a finished result of other inputs or settings in --out, which is lost."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder that keeps what encoders and other models made, between runs (any number of data sets).",
        show_default="none",
    ),
]
Encoder = Annotated[str, typer.Option("--encoder", help="Text encoder: a Hugging Face name or folder.")]
Model = Annotated[
    Path | None, typer.Option("--model", help="Model folder, made by `genir train`.", show_default="none")
]
Beams = Annotated[
    int | None, typer.Option("--num-beams", min=1, help="Beams of the constrained search.", show_default="as trained")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Scoring = Annotated[
    str | None,
    typer.Option(
        "--scoring",
        help="What a token scores: vocabulary or allowed (log-softmax over all tokens, or over the legal ones), or logits.",
        show_default="as trained",
    ),
]
LengthPenalty = Annotated[
    float | None,
    typer.Option("--length-penalty", help="Scores are divided by length to this power.", show_default="as trained"),
]
Groups = Annotated[
    int | None,
    typer.Option("--num-beam-groups", min=1, help="Groups of diverse beam search.", show_default="as trained"),
]
Diversity = Annotated[
    float | None,
    typer.Option("--diversity-penalty", min=0, help="What groups pay for equal tokens.", show_default="as trained"),
]
Threshold = Annotated[
    int | None,
    typer.Option(
        "--threshold",
        min=0,
        help="Stop a query when its best so many identifiers are certain.",
        show_default="as trained",
    ),
]
Views = Annotated[
    str | None,
    typer.Option(
        "--views",
        help="What a document's views make together: sum or max of their scores. For models of scheme views.",
        show_default="as built",
    ),
]
Rerank = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        metavar="KIND",
        help="Score what was found anew: cross-encoder:NAME or likelihood:NAME (Hugging Face), writer:DIR (a query writer), or "
        "head (of `genir train-rerank`). Needs --data.",
        show_default="none",
    ),
]
RerankDepth = Annotated[
    int | None, typer.Option("--rerank-depth", min=1, help="Documents a query to rerank.", show_default="50")
]
RerankWeight = Annotated[
    float | None,
    typer.Option(
        "--rerank-weight",
        min=0,
        help="Share of the first retriever's score, normalised, in the new one.",
        show_default="tuned on dev; 0 without a dev split, or with head",
    ),
]
NoTerms = Annotated[bool, typer.Option("--no-terms", help="Search by codes alone, though the model has terms.")]
NoLookAhead = Annotated[
    bool,
    typer.Option("--no-look-ahead", help="Beams do not know beforehand what the codes of all documents score."),
]


def rise(start: float, best: float) -> str:
    """What a training did to its dev figure, for the line at its end."""
    kept = "" if best > start else " (training did not raise it)"
    return f"{start:.4f} before training, {best:.4f} now{kept}"
