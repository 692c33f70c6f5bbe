"""`genir rag`: what answers rest on, measured."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands import rag_options as of_eval
from experiments.commands.options import (
    DEFAULT_ENCODER,
    Cache,
    Config,
    Data,
    Device,
    Encoder,
    Json,
    Made,
    Model,
    Replace,
    Resume,
)

rag_app = typer.Typer(help="Answers and their checkers, measured.", no_args_is_help=True)


@rag_app.command("check")
def check(
    data_root: Annotated[
        Path,
        typer.Option("--data-root", help="Folder that holds halueval-qa, squad-small and scifact.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder for the figures; what `genir rag eval` wrote there stays.", show_default=False
        ),
    ],
    checkers: Annotated[
        list[str] | None,
        typer.Option(
            "--checker",
            metavar="KIND",
            help="features (ships with the package), lexical, embedding or embedding:NAME (any encoder), nli:NAME (any Hugging Face NLI "
            "model), trained:DIR (made by `genir rag train-checker`); may be repeated: the others stand beside the first.",
            show_default="features (where it can run), lexical, embedding",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the swapped answers and the bootstrap.")] = 0,
    device: Device = "auto",
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Measure support checkers: do they rank right claims above wrong ones, better than the claims' length or words do?

    Right against hallucinated answers (halueval-qa, and its pairs of about one length), against swapped spans of the same passage
    (squad-swapped), and sentences that support a claim against those that contradict it (scifact). AUROC with 95 % bootstrap intervals;
    --json and summary.json also hold each checker's paired difference from the length and the words.
    """
    from experiments.checkers.benchmark import check_checkers, default_checkers, table
    from experiments.tables import show, show_facts

    chosen = checkers or default_checkers()
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
    out: Made,
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
    config: Config = None,
    cache: Cache = None,
    resume: Resume = False,
    replace: Replace = False,
) -> None:
    """Train a checker on questions with their passages: which span answers, and which could be taken for it.

    The dev questions choose among its states and fit its last step; test questions are not read. A finished folder of the same inputs
    and settings is reused.
    """
    from experiments.checkers.learning import CheckerConfig
    from experiments.checkers.learning import train_checker as run

    facts = run(data, CheckerConfig.read(config), out, more, scifact, reader, resume, cache, replace)["facts"]
    print(f"{out}: {facts['seconds']:.0f} s; {facts['measure']}: {facts['checker_dev']:.4f}")


@rag_app.command("eval")
def evaluate(
    data: Data,
    out: of_eval.Figures,
    retrievers: of_eval.Arms = "none,random,bm25,oracle",
    generators: of_eval.Readers = None,
    mitigations: of_eval.Mitigations = "none",
    conditions: of_eval.Conditions = "none",
    model: Model = None,
    split: of_eval.Split = "test",
    limit: of_eval.Limit = 0,
    k: of_eval.Passages = 3,
    checker: of_eval.Checker = None,
    against: of_eval.Against = None,
    loss: of_eval.Loss = "hallucination",
    coverage: of_eval.Coverage = 0.9,
    target: of_eval.Target = "coverage",
    risk: of_eval.Risk = 0.1,
    signal: of_eval.Signal = "confidence",
    samples: of_eval.Samples = 0,
    temperature: of_eval.Temperature = 0.7,
    search_price: of_eval.SearchPrice = 0.0,
    entities: of_eval.Entities = None,
    name: of_eval.Name = None,
    seed: of_eval.Seed = 0,
    resamples: of_eval.Resamples = 1000,
    work: of_eval.Work = None,
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure answers: what each retriever, mitigation and refusal buys, with the generator held fixed.

    Writes summary.json (means with 95 % intervals, paired differences, Holm-corrected, and what a question costs), answers.jsonl (every
    prompt and answer), plots and a manifest. Confidences are calibrated, and thresholds chosen, on dev questions. An interrupted run goes
    on where it was.
    """
    from experiments.rag_evaluation.experiment import run
    from experiments.rag_evaluation.figures import differences, table
    from experiments.rag_evaluation.settings import GroundingConfig, split_generators, split_names, split_steps
    from experiments.reading import span_ships
    from experiments.tables import show, show_facts

    config = GroundingConfig(
        retrievers=split_names(retrievers),
        generators=split_generators(generators or ("span" if span_ships() else "extractive")),
        mitigations=split_steps(mitigations),
        conditions=split_steps(conditions),
        split=split,
        limit=limit,
        k=k,
        checker=checker or "",
        seed=seed,
        against=against or "",
        loss=loss,
        coverage=coverage,
        target=target,
        risk=risk,
        signal=signal,
        samples=samples,
        temperature=temperature,
        search_price=search_price,
        entities=entities or "",
        name=name or "",
        resamples=resamples,
        encoder=encoder,
    )
    place = work or Path("runs") / "grounding" / data.resolve().name
    summary = run(data, out, config, place, model, cache, device, lambda line: typer.echo(line, err=True))
    if as_json:
        show_facts(summary, as_json=True)
        return
    for heading, found in summary.items():
        if found:  # conditions may have no rows
            cells, columns = table(found, loss)
            costs = ", and what a question costs" if "seconds" in columns else ""
            show(cells, columns, title=f"{heading}: mean [95 % interval]{costs}")
        rows, names = differences(found, loss)
        if rows:
            show(rows, names, title=f"{heading}: paired differences [95 % interval]; * p < .05, Holm-corrected")
