"""`genir data ...` and `genir docids ...`: documents in, identifiers out."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import DEFAULT_ENCODER, Cache, Data, Encoder, Json, Made

data_app = typer.Typer(help="Bring in a data set, and look at it.", no_args_is_help=True)
docids_app = typer.Typer(help="Give every document an identifier, and look at them.", no_args_is_help=True)


@data_app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A BEIR folder, a SQuAD JSON file (1.1 or 2.0), an ir_datasets id (e.g. beir/scifact/test), or a folder of "
            ".txt, .md and .html files."
        ),
    ],
    out: Made,
    words: Annotated[
        int | None,
        typer.Option(
            "--words", min=10, help="Split long text files into passages of about so many words.", show_default="whole"
        ),
    ] = None,
) -> None:
    """Read SOURCE, check it, and write it as a data folder (corpus.jsonl, queries.jsonl, qrels/)."""
    from experiments.data_stage import import_data

    manifest = import_data(source, out, words)
    facts = manifest["facts"]
    print(f"{out}: {facts['documents']} documents, {facts['queries']} queries, splits {facts['splits'] or 'none'}")


@data_app.command("inspect")
def inspect(
    folder: Annotated[Path, typer.Argument(help="Data folder.")],
    as_json: Json = False,
) -> None:
    """Counts, lengths, scripts, duplicates, queries that stand in two splits, broken judgements."""
    from experiments.data_stage import inspect_data
    from experiments.tables import show_facts

    show_facts(inspect_data(folder), title=str(folder), as_json=as_json)


@docids_app.command("build")
def build(
    data: Data,
    out: Made,
    scheme: Annotated[
        str,
        typer.Option(
            "--scheme",
            help="atomic, numeric, hierarchical, residual, product, title, url, key-terms, ngram, views or random.",
        ),
    ] = "residual",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Setting of the scheme, e.g. levels=8; may be repeated.",
            show_default=False,
        ),
    ] = None,
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
) -> None:
    """Make every document's identifier by one scheme. An unchanged folder is reused."""
    from experiments.data_stage import build_docids

    facts = build_docids(data, out, scheme, settings or [], encoder, cache)["facts"]
    print(
        f"{out}: {facts['scheme']}, {facts['documents']} documents, {facts['identifiers']} identifiers, "
        f"length {facts['length']['min']} to {facts['length']['max']}, collision rate {facts['collision_rate']:.4f}"
    )
    agreement = facts.get("neighbour_agreement")
    if agreement and agreement["prefixes"]:
        first = agreement["prefixes"][0]
        print(
            f"  first token shared with {first['neighbours']:.1%} of the {agreement['nearest']} nearest documents, "
            f"{first['random']:.1%} of random ones"
        )


@docids_app.command("inspect")
def inspect_docids(
    folder: Annotated[
        Path, typer.Argument(help="Folder made by `genir docids build`, or a model made by `genir train`.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Data folder of these identifiers: embed its documents, and say how well prefixes agree with neighbours.",
            show_default="what the scheme embedded itself",
        ),
    ] = None,
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Uniqueness, lengths, every level's codes, entropy, balance and branching, and how well prefixes agree with neighbours."""
    from experiments.data_stage import inspect_table
    from experiments.tables import show, show_facts

    figures = inspect_table(folder, data, encoder, cache)
    if as_json:
        show_facts(figures, title=str(folder), as_json=True)
        return
    levels, agreement = figures.pop("levels"), figures.pop("neighbour_agreement", None)
    show_facts(figures, title=str(folder), as_json=False)
    show(levels, list(levels[0]), title="levels", as_json=False)
    if agreement and not agreement["prefixes"]:
        print("no two of the documents compared begin with the same token")
    elif agreement:
        title = f"share of documents with the same prefix, of {agreement['documents']} documents"
        columns = {
            "length": "prefix",
            "neighbours": f"of the {agreement['nearest']} nearest",
            "random": "of random ones",
            "lift": "lift",
        }
        show(agreement["prefixes"], columns, title=title, as_json=False)
