"""`genir train`, `genir search`, `genir evaluate`: the model, its rankings, and what they are worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.options import (
    DEFAULT_ENCODER,
    Beams,
    Cache,
    Data,
    Device,
    Diversity,
    Encoder,
    Groups,
    Json,
    LengthPenalty,
    Model,
    NoTerms,
    Rerank,
    RerankDepth,
    RerankWeight,
    Scoring,
    Threshold,
    Views,
)

if TYPE_CHECKING:
    from experiments.reranking import RerankChoice


def train(
    data: Data,
    docids: Annotated[Path, typer.Option("--docids", help="Folder made by `genir docids build`.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Model folder to make.", show_default=False)],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="TOML file; see experiments/configs in the source.", show_default="built-in defaults"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint that an interrupted training left in --out.")
    ] = False,
    cache: Cache = None,
) -> None:
    """Teach a model to write the identifier of the document that answers a question.

    The dev split is searched at every evaluation, the untrained start included, and the best weights are kept. Ctrl-C leaves a
    checkpoint; --resume goes on from there. A finished folder of the same inputs and configuration is reused.
    """
    from experiments.learning import ModelConfig, train_model

    facts = train_model(data, docids, ModelConfig.read(config), out, resume, cache)["facts"]
    print(
        f"{out}: {facts['parameters'] / 1e6:.1f} M parameters, {facts['examples']} examples, {facts['seconds']:.0f} s; "
        f"{facts['measure']}: {facts['start_dev']:.4f} before training, {facts['best_dev']:.4f} now"
    )


def train_terms(
    data: Data,
    model: Annotated[Path, typer.Option("--model", help="Model folder made by `genir train`.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Model folder to make.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings.", show_default="built-in defaults")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint that an interrupted training left in --out.")
    ] = False,
) -> None:
    """Add terms to a trained model, so that it plans ahead: one reading of a question scores words and phrases, and guides the beams.

    Terms start as BM25's, tuned on the dev split; the model itself stays as it is. What is made is a model folder like any other.
    """
    from experiments.term_learning import TermConfig
    from experiments.term_learning import train_terms as run

    facts = run(data, model, TermConfig.read(config), out, resume)["facts"]
    print(
        f"{out}: {facts['terms']} terms, {facts['terms_seconds']:.0f} s; {facts['terms_measure']}: "
        f"{facts['terms_start_dev']:.4f} before training, {facts['terms_best_dev']:.4f} now"
    )


def train_rerank(
    data: Data,
    model: Annotated[
        Path, typer.Option("--model", help="Model folder made by `genir train-terms`.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Model folder to make.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings.", show_default="built-in defaults")
    ] = None,
) -> None:
    """Add a rerank head to a model with terms: it learns from the training questions' beams which of a beam's documents is right.

    How long it learns is chosen on the dev split. Use it with `genir search --rerank head`.
    """
    from experiments.rerank_learning import RerankConfig
    from experiments.rerank_learning import train_rerank as run

    facts = run(data, model, RerankConfig.read(config), out)["facts"]
    print(
        f"{out}: {facts['rerank_lists']} beams, {facts['rerank_seconds']:.0f} s; {facts['rerank_measure']}: "
        f"{facts['rerank_start_dev']:.4f} before training, {facts['rerank_best_dev']:.4f} now"
    )


def search(
    question: Annotated[
        str | None, typer.Argument(help="One question; leave out to search a split.", show_default=False)
    ] = None,
    model: Model = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Data folder; needed for a split, and for all retrievers without a trained model.",
            show_default="none",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Split whose queries to search.", show_default="none")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Documents a query.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="TREC run file to write.", show_default="none")] = None,
    retriever: Annotated[
        str, typer.Option("--retriever", help="generative, ngram, bm25, dense, hybrid or tfidf.")
    ] = "generative",
    num_beams: Beams = None,
    scoring: Scoring = None,
    length_penalty: LengthPenalty = None,
    num_beam_groups: Groups = None,
    diversity_penalty: Diversity = None,
    threshold: Threshold = None,
    no_terms: NoTerms = False,
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
    from experiments.registry import GENERATIVE
    from experiments.retrieval import (
        build_retriever,
        load_model_for,
        search_one,
        search_split,
    )
    from experiments.tables import show
    from genir.errors import ConfigError
    from genir.formats import load_dataset
    from genir.manifest import sha256_of

    decoding = _decoding(
        retriever,
        num_beams=num_beams,
        scoring=scoring,
        length_penalty=length_penalty,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        threshold=threshold,
        terms=False if no_terms else None,
        views=views,
    )
    choice = _reranker(rerank, rerank_depth, rerank_weight)
    _check_asked(question, split, k, out)
    if question is not None and retriever in GENERATIVE and model is not None and data is None and choice is None:
        rows = load_model_for(retriever, model, device).answer_rows(question, k, decoding)
        columns = list(rows[0]) if rows else ["rank", "score", "doc_id", "title"]
        show(rows, columns, title=question, as_json=as_json)
        return
    if data is None:
        raise ConfigError("--data DIR is needed here: the folder made by `genir data import`")
    dataset = load_dataset(data, [] if split is None else [split])
    if retriever == "hybrid" or choice is not None:
        dataset = load_dataset(data)  # their weights are tuned on dev
    built = build_retriever(retriever, dataset, data, model, decoding, encoder, cache, device)
    if choice is not None:
        from experiments.reranking import rerank as reranked

        built = reranked(built, choice, dataset, model, device)
    if split is not None:
        assert out is not None
        inputs = {"corpus": sha256_of(data / "corpus.jsonl")}
        cost = search_split(built, dataset, split, k, out, inputs)
        print(f"{out}: {cost['queries']} queries, {cost['search_seconds']:.1f} s")
        return
    assert question is not None
    documents = dataset.documents()
    ranking = search_one(built.retriever, question, k).rankings["question"]
    rows = [
        {"rank": rank, "score": one.score, "doc_id": one.doc_id, "title": documents[one.doc_id].title}
        for rank, one in enumerate(ranking, 1)
    ]
    show(rows, ["rank", "score", "doc_id", "title"], title=question, as_json=as_json)


def _reranker(kind: str | None, depth: int | None, weight: float | None) -> "RerankChoice | None":
    """What the options about reranking say. Raises ConfigError where there is nothing to rerank with."""
    from genir.errors import ConfigError

    given = {"--rerank-depth": depth, "--rerank-weight": weight}
    if kind is None:
        named = [name for name, value in given.items() if value is not None]
        if named:
            raise ConfigError(f"{', '.join(named)}: goes with --rerank KIND, which is not given")
        return None
    from experiments.reranking import RerankChoice

    return RerankChoice.parse(kind, 50 if depth is None else depth, weight)


def _check_asked(question: str | None, split: str | None, k: int, out: Path | None) -> None:
    """Raise ConfigError unless one question is asked, or a split with a file to write."""
    from experiments.retrieval import check_question, check_run_path
    from genir.errors import ConfigError

    if k < 1:
        raise ConfigError(f"-k {k}: expected at least 1 document a query")
    if (question is None) == (split is None):
        raise ConfigError("give either one question, or --data DIR --split NAME --out FILE")
    if question is not None:
        check_question(question)
    elif out is None:
        raise ConfigError("--out FILE is needed to search a split, e.g. --out runs/generative.trec")
    else:
        check_run_path(out)


def _decoding(retriever: str, **named: object) -> dict[str, object]:
    """The settings of the generative search that were given. Raises ConfigError for another retriever."""
    from experiments.registry import GENERATIVE, option_of
    from genir.errors import ConfigError

    decoding = {name: value for name, value in named.items() if value is not None}
    if decoding and retriever not in GENERATIVE:
        given = ", ".join(map(option_of, decoding))
        raise ConfigError(f"{given}: for the generative retriever only; --retriever is {retriever}")
    return decoding


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
