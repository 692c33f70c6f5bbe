"""`genir train-dense` and `genir tune`: the baselines at their best, so that a comparison with them is worth something."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import (
    DEFAULT_ENCODER,
    Cache,
    Config,
    Data,
    Device,
    Encoder,
    Json,
    Made,
    Replace,
    Resume,
    Settings,
    rise,
)

tune_app = typer.Typer(help="Choose a baseline's settings on the dev split.", no_args_is_help=True)

Measure = Annotated[str, typer.Option("--measure", "-m", help="ir_measures' name of what to raise.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Also write the result to this JSON file.", show_default="none")
]


def train_dense(
    data: Data,
    out: Made,
    config: Config = None,
    settings: Settings = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", help="Encoder to start from: a Hugging Face name or folder.", show_default="config's"
        ),
    ] = None,
    cache: Cache = None,
    resume: Resume = False,
    replace: Replace = False,
) -> None:
    """Fine-tune a dense encoder on the training queries, with in-batch and mined hard negatives.

    The dev split is searched after every epoch, the start included, and the best weights are kept. What is made is a Hugging Face
    folder: give it to any command as --encoder. A finished folder of the same inputs and settings is reused.
    """
    from experiments.training.dense import read_config
    from experiments.training.dense import train_dense as run

    facts = run(data, read_config(config, settings or [], encoder), out, resume, cache, replace)["facts"]
    dev = f"{facts['measure']}: {rise(facts['start_dev'], facts['best_dev'])}"
    kept = f", at {facts['share']:g} of the way to the trained weights" if facts["share"] < 1 else ""
    print(f"{out}: {facts['pairs']} pairs, {facts['seconds']:.0f} s; {dev}{kept}")


@tune_app.command("bm25")
def tune_bm25(data: Data, measure: Measure = "nDCG@10", out: Out = None, as_json: Json = False) -> None:
    """BM25's fields, k1 and b: every point of the grid on the dev split, best first."""
    from dataclasses import asdict

    from experiments.tables import show
    from genir.formats import load_dataset
    from genir.manifest import write_json
    from retrievers.tuning import tune_bm25 as tune

    dataset = load_dataset(data, ["dev"])
    tuned = tune(dataset.corpus, dataset.split("dev"), dataset.qrels["dev"], measure=measure)
    if out is not None:
        write_json(out, asdict(tuned))
    best = {"fields": "+".join(tuned.settings.fields), "k1": tuned.settings.k1, "b": tuned.settings.b}
    rows = sorted(tuned.grid, key=lambda row: (any(row[key] != best[key] for key in best), -row["value"]))
    shown = rows if as_json else rows[:20]
    title = f"{data}, dev: {tuned.queries} queries, {tuned.measure}, the best {len(shown)} of {len(rows)}"
    show(shown, {"fields": "fields", "k1": "k1", "b": "b", "value": measure}, title=title, as_json=as_json)


@tune_app.command("hybrid")
def tune_hybrid(
    data: Data,
    encoder: Encoder = DEFAULT_ENCODER,
    measure: Measure = "nDCG@10",
    cache: Cache = None,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The share of tuned BM25 beside a dense encoder, under both normalisations, on the dev split.

    The dense index is of titles alone where dev likes that better; `genir search` reads what the encoder learnt to read.
    """
    from dataclasses import asdict

    from experiments.quality.tuned_baselines import build_baselines
    from experiments.tables import show
    from genir.formats import load_dataset
    from genir.manifest import write_json

    dataset = load_dataset(data, ["dev"])
    made = build_baselines(dataset, data, {"dense": encoder}, measure, cache, device)
    tuned, fields = made.hybrids["hybrid_dense"], made.built["dense"].settings["fields"]
    if out is not None:
        sides = {"bm25": asdict(made.bm25.settings), "encoder": encoder, "fields": fields}
        write_json(out, {**sides, **asdict(tuned)})
    rows = [
        {"normalisation": name, "weight": weight, "value": value}
        for name, curve in tuned.curves.items()
        for weight, value in curve
    ]
    rows.append({"normalisation": "reciprocal ranks", "weight": None, "value": tuned.reciprocal_rank_value})
    columns = {"normalisation": "fusion", "weight": "weight of BM25", "value": measure}
    show(
        sorted(rows, key=lambda row: -row["value"]), columns, title=f"{data}, dev; dense over {fields}", as_json=as_json
    )
