"""`genir answer`: one question, answered from what was retrieved, with its source."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli_options import DEFAULT_ENCODER, Beams, Cache, Data, Device, Encoder, Json, Model

if TYPE_CHECKING:
    from genir.records import Answer, Document


def answer(
    question: Annotated[str, typer.Argument(help="The question.")],
    data: Data,
    retriever: Annotated[
        str, typer.Option("--retriever", help="generative, ngram, bm25, dense, hybrid, tfidf, or none (closed-book).")
    ] = "bm25",
    generator: Annotated[
        str,
        typer.Option(
            "--generator",
            help="extractive (the best sentence), a reader folder (runs/demo/reader), any Hugging Face causal language model by name "
            "or folder, or KIND:SOURCE: llama:FOLDER, vllm:NAME, openai:URL.",
        ),
    ] = "extractive",
    model: Model = None,
    k: Annotated[int, typer.Option("-k", help="Passages to read.")] = 3,
    num_beams: Beams = None,
    encoder: Encoder = DEFAULT_ENCODER,
    cache: Cache = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Answer a question from the documents that a retriever finds, and show where the answer stands."""
    from dataclasses import asdict

    from experiments.reading import make_reader
    from experiments.retrieval import build_retriever, check_question
    from experiments.tables import show_facts
    from genir.errors import ConfigError
    from genir.formats import load_dataset
    from rag.answering import answer as answer_questions

    if k < 1:
        raise ConfigError(f"-k {k}: expected at least 1 passage; for an answer without passages use --retriever none")
    check_question(question)
    reader = make_reader(generator, device)
    dataset = load_dataset(data)
    searcher = None
    if retriever != "none":
        decoding = {} if num_beams is None else {"num_beams": num_beams}
        searcher = build_retriever(retriever, dataset, data, model, decoding, encoder, cache, device).retriever
    documents = dataset.documents()
    [found] = answer_questions(question, searcher, reader, documents, k)
    if as_json:
        show_facts(asdict(found), as_json=True)
        return
    _print(found, documents)


def _print(found: "Answer", documents: "Mapping[str, Document]") -> None:
    """The answer, where it stands, and, where it stands nowhere, why."""
    print(found.text)
    for citation in found.citations:
        title = documents[citation.doc_id].title or citation.doc_id
        quote = "" if citation.text == found.text else f" {citation.text}"
        print(f"  [{title}]{quote}  ({citation.doc_id}, characters {citation.start} to {citation.end})")
    if found.citations:
        return
    if found.retriever == "none":
        why = (
            "has no passages to read (--retriever none)" if found.abstained else "answers from memory alone: no source"
        )
        print(f"  {found.generator} {why}.")
    elif not found.passages:
        print(f"  {found.retriever} finds no passage for this question.")
    elif found.abstained:
        print(f"  {found.generator} sees no answer in the {len(found.passages)} passages of {found.retriever}.")
    else:
        print(f"  None of the {len(found.passages)} passages of {found.retriever} supports this.")
