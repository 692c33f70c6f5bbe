"""`genir serve`: the page on which to ask, and its JSON API."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import DEFAULT_ENCODER, Cache, Device, Encoder, Model


def serve(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data folder, made by `genir data import`.", show_default="atlas, offline"),
    ] = None,
    model: Model = None,
    generator: Annotated[
        list[str] | None,
        typer.Option(
            "--generator",
            help="What writes the answers, as for `genir answer`; may be repeated, the first is the page's default. A joint model "
            "(joint:DIR, with --data) is a retriever of the page, too.",
            show_default="span where its weights ship and the question is English, else extractive",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 lets the whole network ask.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen at; 0 takes a free one.")] = 7860,
    demo: Annotated[
        Path, typer.Option("--demo", help="Where `genir demo` ran; its model and reader are used where they are there.")
    ] = Path("runs/demo"),
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
    checker: Annotated[
        str | None,
        typer.Option(
            "--checker",
            help="What says whether a claim is supported, as for `genir answer`.",
            show_default="features with the extra dense, else lexical",
        ),
    ] = None,
    device: Device = "auto",
    rate: Annotated[int, typer.Option("--rate", min=1, help="Most questions a minute and visitor.")] = 30,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="Most seconds a question may take.")] = 60.0,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Most questions at once, waiting ones included.")] = 16,
) -> None:
    """Serve a page on which to ask: answers with numbered sources, the identifier over its tree; and a JSON API. Ctrl-C ends it."""
    from dataclasses import replace

    from experiments.checkers.benchmark import default_checker
    from experiments.demo.limits import Limits
    from experiments.demo.server import base_url, check_installed
    from experiments.demo.server import serve as serve_page
    from rag.serving.server import open_port

    check_installed()
    with open_port(host, port) as door:
        from experiments.demo.desk import Desk
        from experiments.demo.library import Library
        from experiments.demo.start import find_holdings

        found = find_holdings(data, model, generator or (), demo, encoder, cache, device)
        library = Library(replace(found, checker=checker or default_checker()))
        held = library.holdings
        library.make_ready(library.retriever_names[0], library.reader_names[0])

        def ready() -> None:
            asked = f"{held.dataset.name}, {len(library.documents):,} documents"
            typer.echo(f"{asked}: {base_url(door)}  (JSON: {base_url(door)}/api/health); Ctrl-C ends it", err=True)
            if held.hint:
                typer.echo(held.hint, err=True)

        serve_page(Desk(library, Limits(rate=rate, seconds=seconds, queue=queue)), door, host, ready)
