"""`genir train`, `genir search`, `genir evaluate`: the model, its rankings, and what they are worth."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import (
    DEFAULT_ENCODER,
    Beams,
    Cache,
    Config,
    Data,
    Device,
    Diversity,
    DocIDs,
    Encoder,
    Groups,
    Json,
    LengthPenalty,
    Made,
    Model,
    NoLookAhead,
    NoTerms,
    Replace,
    Rerank,
    RerankDepth,
    RerankWeight,
    Resume,
    Scoring,
    Threshold,
    Views,
    rise,
)

Question = Annotated[str | None, typer.Argument(help="One question; leave out to search a split.", show_default=False)]
SearchedData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Data folder; needed for a split, and for all retrievers without a trained model.",
        show_default="none",
    ),
]
SearchedSplit = Annotated[
    str | None, typer.Option("--split", help="Split whose queries to search.", show_default="none")
]
Retriever = Annotated[str, typer.Option("--retriever", help="generative, ngram, bm25, dense, hybrid or tfidf.")]


def train(
    data: Data,
    docids: DocIDs,
    out: Made,
    config: Config = None,
    resume: Resume = False,
    cache: Cache = None,
    replace: Replace = False,
) -> None:
    """Teach a model to write the identifier of the document that answers a question.

    The dev split is searched at every evaluation, the untrained start included, and the best weights are kept. Ctrl-C leaves a
    checkpoint; --resume goes on from there. A finished folder of the same inputs and configuration is reused. There are configurations
    to start from in experiments/configs in the source.
    """
    from experiments.training.model import train_model
    from experiments.training.model_config import ModelConfig

    facts = train_model(data, docids, ModelConfig.read(config), out, resume, cache, replace)["facts"]
    print(
        f"{out}: {facts['parameters'] / 1e6:.1f} M parameters, {facts['examples']} examples, {facts['seconds']:.0f} s; "
        f"{facts['measure']}: {rise(facts['start_dev'], facts['best_dev'])}"
    )


def train_terms(
    data: Data,
    model: Annotated[Path, typer.Option("--model", help="Model folder made by `genir train`.", show_default=False)],
    out: Made,
    config: Config = None,
    resume: Resume = False,
) -> None:
    """Add terms to a trained model, so that it plans ahead: one reading of a question scores words and phrases, and guides the beams.

    Terms start as BM25's, tuned on the dev split; the model itself stays as it is. What is made is a model folder like any other.
    """
    from experiments.training.terms import TermConfig
    from experiments.training.terms import train_terms as run

    facts = run(data, model, TermConfig.read(config), out, resume)["facts"]
    print(
        f"{out}: {facts['terms']} terms, {facts['terms_seconds']:.0f} s; {facts['terms_measure']}: "
        f"{facts['terms_start_dev']:.4f} before training, {facts['terms_best_dev']:.4f} now"
        f"{'' if facts['terms_learnt'] else ' (training did not raise it: the terms stay as they started)'}"
    )


def train_rerank(
    data: Data,
    model: Annotated[
        Path, typer.Option("--model", help="Model folder made by `genir train-terms`.", show_default=False)
    ],
    out: Made,
    config: Config = None,
) -> None:
    """Add a rerank head to a model with terms: it learns from the training questions' beams which of a beam's documents is right.

    How long it learns is chosen on the dev split. Use it with `genir search --rerank head`.
    """
    from experiments.training.rerank import RerankConfig
    from experiments.training.rerank import train_rerank as run

    facts = run(data, model, RerankConfig.read(config), out)["facts"]
    print(
        f"{out}: {facts['rerank_lists']} beams, {facts['rerank_seconds']:.0f} s; {facts['rerank_measure']}: "
        f"{facts['rerank_start_dev']:.4f} before training, {facts['rerank_best_dev']:.4f} now"
    )


def search(
    question: Question = None,
    model: Model = None,
    data: SearchedData = None,
    split: SearchedSplit = None,
    k: Annotated[int, typer.Option("-k", help="Documents a query.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="TREC run file to write.", show_default="none")] = None,
    retriever: Retriever = "generative",
    num_beams: Beams = None,
    scoring: Scoring = None,
    length_penalty: LengthPenalty = None,
    num_beam_groups: Groups = None,
    diversity_penalty: Diversity = None,
    threshold: Threshold = None,
    no_terms: NoTerms = False,
    no_look_ahead: NoLookAhead = False,
    views: Views = None,
    rerank: Rerank = None,
    rerank_depth: RerankDepth = None,
    rerank_weight: RerankWeight = None,
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Rank documents for one question, or for every query of a split (a TREC run, with its settings and cost beside it)."""
    from experiments.searching import COLUMNS, Search, check_asked, given_decoding, given_reranker
    from experiments.tables import show

    decoding = given_decoding(
        retriever,
        num_beams=num_beams,
        scoring=scoring,
        length_penalty=length_penalty,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        threshold=threshold,
        terms=False if no_terms else None,
        look_ahead=False if no_look_ahead else None,
        views=views,
    )
    reranker = given_reranker(rerank, rerank_depth, rerank_weight)
    check_asked(question, split, k, out)
    asked = Search(retriever, model, data, decoding, reranker, encoder, cache, device)
    if question is not None:
        rows = asked.rows(question, k)
        show(rows, list(rows[0]) if rows else COLUMNS, title=question, as_json=as_json)
    elif split is not None and out is not None:
        cost = asked.write_run(split, k, out)
        print(f"{out}: {cost['queries']} queries, {cost['search_seconds']:.1f} s")


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="TREC run files; the others are compared with the first.")],
    data: Data,
    split: Annotated[str, typer.Option("--split", help="Split whose judgements to use.")] = "test",
    measures: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            "-m",
            help="ir_measures' names; may be repeated.",
            show_default="Success@1 R@10 R@100 RR@10 nDCG@10",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Also write everything, per-query values included, to this JSON file.", show_default="none"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """One table for all runs: means, 95 % bootstrap intervals, paired randomisation tests against the first run (Holm-corrected)."""
    from experiments.scoring import compare_runs, metrics_table
    from experiments.tables import show
    from genir.manifest import write_json

    scored = compare_runs(runs, data, split, measures)
    if out is not None:
        write_json(out, scored)
    if as_json:
        show(scored["rows"], [], title="", as_json=True)
        return
    rows, columns = metrics_table(scored)
    show(rows, columns, title=f"{data}, {split}: {scored['queries']} queries", as_json=False)
    print(
        "* p < .05 against the first run (paired randomisation, Holm-corrected); [low, high]: 95 % bootstrap interval"
    )
