"""`genir rag`: what answers rest on, measured."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import DEFAULT_ENCODER, Cache, Data, Device, Encoder, Json, Model

rag_app = typer.Typer(help="Answers and their checkers, measured.", no_args_is_help=True)


@rag_app.command("check")
def check(
    data_root: Annotated[
        Path,
        typer.Option("--data-root", help="Folder that holds halueval-qa, squad-small and scifact.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for summary.json and scores.jsonl.", show_default=False)],
    checkers: Annotated[
        list[str] | None,
        typer.Option(
            "--checker",
            metavar="KIND",
            help="lexical, embedding or embedding:NAME (any encoder), nli:NAME (any Hugging Face NLI model), trained:DIR (made by "
            "`genir rag train-checker`); may be repeated.",
            show_default="lexical, embedding",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the swapped answers and the bootstrap.")] = 0,
    device: Device = "auto",
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Measure support checkers: do they rank right claims above wrong ones, better than the claims' length or words do?

    Right against hallucinated answers (halueval-qa, and its pairs of about one length), against swapped spans of the same passage
    (squad-swapped), and sentences that support a claim against those that contradict it (scifact). AUROC with 95 % bootstrap intervals.
    """
    from experiments.checkers.benchmark import check_checkers, table
    from experiments.tables import show, show_facts

    chosen = checkers or ["lexical", "embedding"]
    figures = check_checkers(data_root, chosen, out, seed, device, cache, lambda line: typer.echo(line, err=True))
    if as_json:
        show_facts(figures, as_json=True)
        return
    show(
        *table(figures),
        title="AUROC, right against wrong claims [95 % bootstrap interval]; length, containment: baselines",
    )


@rag_app.command("train-checker")
def train_checker(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the checker to make.", show_default=False)],
    more: Annotated[
        Path | None,
        typer.Option("--more", help="Data folder with further training questions.", show_default="none"),
    ] = None,
    scifact: Annotated[
        Path | None,
        typer.Option(
            "--scifact", help="SciFact's folder: its training claims teach contradiction.", show_default="none"
        ),
    ] = None,
    reader: Annotated[
        Path | None,
        typer.Option(
            "--reader", help="Start from the encoder of this span reader (`genir train-reader`).", show_default="none"
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings.", show_default="built-in defaults")
    ] = None,
    cache: Cache = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint that an interrupted training left in --out.")
    ] = False,
) -> None:
    """Train a checker on questions with their passages: which span answers, and which could be taken for it.

    The dev questions choose among its states and fit its last step; test questions are not read. A finished folder of the same inputs
    and settings is reused.
    """
    from experiments.checkers.learning import CheckerConfig
    from experiments.checkers.learning import train_checker as run

    facts = run(data, CheckerConfig.read(config), out, more, scifact, reader, resume, cache)["facts"]
    print(f"{out}: {facts['seconds']:.0f} s; {facts['measure']}: {facts['checker_dev']:.4f}")


@rag_app.command("eval")
def evaluate(
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the figures; other data sets' stay there.", show_default=False),
    ],
    retrievers: Annotated[
        str,
        typer.Option(
            "--retrievers",
            help="Arms, separated by commas: none (closed-book), random, oracle, bm25, tfidf, dense, hybrid, generative, ngram.",
        ),
    ] = "none,random,bm25,oracle",
    generators: Annotated[
        str | None,
        typer.Option(
            "--generator",
            help="Readers, separated by commas, as for `genir answer`.",
            show_default="span where it ships, else extractive",
        ),
    ] = None,
    mitigations: Annotated[
        str,
        typer.Option(
            "--mitigations",
            help="Steps, separated by commas: abstain, verify, edit, verify-and-edit, copy, copy-decode, contrast. Each alone, and all in "
            "this order.",
        ),
    ] = "none",
    conditions: Annotated[
        str,
        typer.Option(
            "--conditions",
            help="Separated by commas: poisoned, removed, distractors, push-back, popularity, unanswerable, wording.",
        ),
    ] = "none",
    model: Model = None,
    split: Annotated[str, typer.Option("--split", help="Split to measure on.")] = "test",
    limit: Annotated[int, typer.Option("--limit", help="Questions at most, from all over the split; 0 for all.")] = 0,
    k: Annotated[int, typer.Option("-k", help="Passages to read.")] = 3,
    checker: Annotated[
        str, typer.Option("--checker", help="What judges claims: lexical, embedding[:NAME], nli:NAME, trained:DIR.")
    ] = "lexical",
    against: Annotated[
        str | None,
        typer.Option("--against", help="Arm that the others are compared with.", show_default="bm25, else the first"),
    ] = None,
    loss: Annotated[
        str,
        typer.Option(
            "--loss",
            help="What is wrong, for calibration and risk-coverage: hallucination (no exact match) or fact-conflicting (for readers that "
            "answer in sentences).",
        ),
    ] = "hallucination",
    coverage: Annotated[
        float, typer.Option("--coverage", help="Share of dev questions that the tuned threshold keeps answered.")
    ] = 0.9,
    entities: Annotated[
        str | None,
        typer.Option(
            "--entities", help="Of atlas: questions about entities seen or unseen in training.", show_default="all"
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What the summary calls the data set.", show_default="the folder's name"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is drawn, and of the bootstrap.")] = 0,
    resamples: Annotated[
        int, typer.Option("--resamples", help="Of the bootstrap of figures that are no means (AURC, ECE).")
    ] = 1000,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            help="Folder for runs and answers; finished ones are reused.",
            show_default="runs/grounding/DATASET",
        ),
    ] = None,
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure answers: what each retriever, mitigation and refusal buys, with the generator held fixed.

    Writes summary.json (means with 95 % intervals, paired differences, Holm-corrected), answers.jsonl (every prompt and answer), plots and
    a manifest. Confidences are calibrated, and thresholds chosen, on dev questions. An interrupted run goes on where it was.
    """
    from experiments.experiment_grounding import run
    from experiments.rag_evaluation.figures import columns, table_cells
    from experiments.rag_evaluation.settings import GroundingConfig, split_names
    from experiments.reading import span_ships
    from experiments.tables import show, show_facts

    config = GroundingConfig(
        split_names(retrievers),
        split_names(generators or ("span" if span_ships() else "extractive")),
        () if mitigations == "none" else split_names(mitigations),
        () if conditions == "none" else split_names(conditions),
        split,
        limit,
        k,
        checker,
        seed,
        against or "",
        loss,
        coverage,
        entities or "",
        name or "",
        resamples,
        encoder,
    )
    place = work or Path("runs") / "grounding" / data.resolve().name
    summary = run(data, out, config, place, model, cache, device, lambda line: typer.echo(line, err=True))
    if as_json:
        show_facts(summary, as_json=True)
        return
    for heading, found in summary.items():
        measures = columns(found, loss)
        show(
            table_cells(found, measures),
            ["arm", *measures],
            title=f"{heading}: mean [95 % interval] (difference; * p < .05, Holm-corrected)",
        )
