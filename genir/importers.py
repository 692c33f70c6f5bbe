"""Other people's files -> a Dataset: BEIR folders, SQuAD JSON, ir_datasets ids, folders of text files.

Nothing is left out silently: whatever cannot be used is counted, and `tell` hears of it. No query is invented: a folder
of texts has none. Known gap: one SQuAD file at a time.
"""

import hashlib
import importlib.util
import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from genir.errors import DataError, MissingExtraError
from genir.formats import CORPUS, check_text, load_dataset
from genir.records import Dataset, Document, Qrels, Query
from genir.text_folder import TEXT_SUFFIXES, Tell, read_text_folder

_EXPECTED = (
    f"expected a BEIR folder (with a {CORPUS}), a folder of {', '.join(TEXT_SUFFIXES)} files, a SQuAD JSON file, or an "
    "ir_datasets id such as beir/scifact/test"
)


def import_source(
    source: str, name: str | None = None, *, words: int | None = None, tell: Tell = warnings.warn, seed: int = 0
) -> Dataset:
    """The data set that `source` names: a folder, a SQuAD JSON file, or, where no such path exists, an ir_datasets id.

    `words` cuts the files of a text folder into passages of about so many words; `seed` splits SQuAD's questions;
    `tell` gets a line for everything that was left out or changed. Raises DataError, MissingExtraError.
    """
    path = Path(source).expanduser()
    if path.is_dir() and (path / CORPUS).is_file():
        dataset = load_dataset(path)
    elif path.is_dir():
        documents = read_text_folder(path, words, tell)
        if not documents:
            raise DataError(f"{source}: holds no {CORPUS} and no readable text file; {_EXPECTED}")
        dataset = Dataset(path.resolve().name, tuple(documents), {})
    elif path.is_file():
        dataset = _squad(path, seed, tell)
    elif source.startswith((".", "/", "~")) or path.suffix in (".json", ".jsonl", *TEXT_SUFFIXES):
        raise DataError(f"{source}: no such file or folder; {_EXPECTED}")
    else:
        dataset = _ir_datasets(source, tell)
    return replace(dataset, name=name or dataset.name)


def _squad(path: Path, seed: int, tell: Tell) -> Dataset:
    """SQuAD 1.1 or 2.0. Every paragraph is a document, named by the numbers of its article and its own."""
    corpus: dict[str, Document] = {}  # by text: a paragraph that occurs twice is one document
    questions: dict[str, list[str]] = {}  # doc_id -> its answerable questions
    queries: dict[str, Query] = {}
    repeated = unanswerable = 0
    for number, article in enumerate(_items(_squad_json(path), "data", str(path)), start=1):
        where = f"{path}: data[{number - 1}]"
        title = unquote(_text(article, "title", where, "")).replace("_", " ")
        for position, paragraph in enumerate(_items(article, "paragraphs", where), start=1):
            here = f"{where}.paragraphs[{position - 1}]"
            text = _text(paragraph, "context", here)
            repeated += text in corpus
            fresh = Document(f"{number:03d}-{position:03d}", text, f"{title} § {position}" if title else "")
            doc_id = corpus.setdefault(text, fresh).doc_id
            for place, qa in enumerate(_items(paragraph, "qas", here)):
                query = _squad_query(qa, f"{here}.qas[{place}]")
                if query.query_id in queries:
                    raise DataError(
                        f"{here}.qas[{place}]: the question id {query.query_id!r} stands already further up"
                    )
                queries[query.query_id] = query
                if qa.get("is_impossible"):
                    unanswerable += 1
                else:
                    questions.setdefault(doc_id, []).append(query.query_id)
    if not corpus:
        raise DataError(f"{path}: holds no paragraph; {_EXPECTED}")
    if repeated:
        tell(f"merged: {repeated} paragraphs that repeat an earlier one")
    if unanswerable:
        tell(f"in no split: {unanswerable} unanswerable questions, kept among the queries")
    return Dataset(path.stem, tuple(corpus.values()), queries, _split(questions, queries, seed))


def _squad_json(path: Path) -> Any:
    if path.suffix == ".jsonl":
        raise DataError(f"{path}: is one file of a data set; give the folder that holds it")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON (cut short?): {error.msg}; {_EXPECTED}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8 at byte {error.start}; {_EXPECTED}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _squad_query(qa: Mapping[str, Any], where: str) -> Query:
    listed = [] if qa.get("is_impossible") or "answers" not in qa else _items(qa, "answers", where)
    answers = dict.fromkeys(_text(answer, "text", where) for answer in listed)
    return Query(_text(qa, "id", where), _text(qa, "question", where).strip(), tuple(answers))


def _items(value: Any, key: str, where: str) -> list[dict[str, Any]]:
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f'{where}: not SQuAD: expected a list of objects under "{key}"')
    return items


def _text(value: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    text = value.get(key, default)
    if not isinstance(text, str):
        raise DataError(f'{where}: not SQuAD: expected a string under "{key}"')
    check_text(where, key, text)
    return text


def _split(questions: Mapping[str, list[str]], queries: Mapping[str, Query], seed: int) -> dict[str, Qrels]:
    """80/10/10 within each document, by a seeded hash of the question's id.

    Shares are carried over from document to document, so that they come out even; every document keeps a question in
    train; questions worded alike all stand in train, so that no wording stands in two splits.
    """
    wordings = Counter(_wording(query) for query in queries.values())
    splits: dict[str, dict[str, dict[str, int]]] = {"train": {}, "dev": {}, "test": {}}
    due = {"dev": 0.0, "test": 0.0}
    for doc_id, ids in questions.items():
        order = sorted(ids, key=lambda query_id: hashlib.sha256(f"{seed}\0{query_id}".encode()).digest())
        free = [query_id for query_id in order if wordings[_wording(queries[query_id])] == 1][: len(ids) - 1]
        chosen: dict[str, str] = {}
        for split in due:
            due[split] += 0.1 * len(ids)
            count = min(math.floor(due[split] + 1e-9), len(free))
            due[split] -= count
            chosen |= dict.fromkeys(free[:count], split)
            free = free[count:]
        for query_id in ids:
            splits[chosen.get(query_id, "train")][query_id] = {doc_id: 1}
    return {split: Qrels(judgements) for split, judgements in splits.items()}


def _wording(query: Query) -> str:
    return " ".join(query.text.split()).casefold()


def _ir_datasets(identifier: str, tell: Tell) -> Dataset:
    """A data set that ir_datasets knows and downloads; its qrels become one split, named by the end of the id."""
    if importlib.util.find_spec("ir_datasets") is None:
        raise MissingExtraError("ir-datasets", "datasets", f"{identifier!r}, which is no file or folder and so an id,")
    import ir_datasets

    try:
        found = ir_datasets.load(identifier)
    except KeyError:
        raise DataError(f"{identifier!r}: no file, no folder, and no id that ir_datasets knows; {_EXPECTED}") from None
    if not found.has_docs():
        raise DataError(f"{identifier!r}: this ir_datasets id has no documents; {_EXPECTED}")
    try:
        corpus = tuple(_ir_document(doc) for doc in found.docs_iter())
        asked = found.queries_iter() if found.has_queries() else ()
        queries = {query.query_id: Query(query.query_id, query.default_text()) for query in asked}
        judged = list(found.qrels_iter()) if found.has_qrels() else []
    except (OSError, RuntimeError) as error:  # what ir_datasets raises when a download fails
        raise DataError(f"{identifier!r}: ir_datasets cannot fetch it: {str(error).splitlines()[0]}") from None
    doc_ids = {document.doc_id for document in corpus}
    kept = [line for line in judged if line.query_id in queries and line.doc_id in doc_ids]
    if len(kept) < len(judged):
        tell(f"left out: {len(judged) - len(kept)} judgements of queries or documents that {identifier} does not hold")
    judgements: dict[str, dict[str, int]] = {}
    for line in kept:
        judgements.setdefault(line.query_id, {})[line.doc_id] = int(line.relevance)
    last = identifier.rsplit("/", 1)[-1]
    split = {"validation": "dev", "val": "dev"}.get(last, last if last in ("train", "dev", "test") else "test")
    return Dataset(identifier.replace("/", "-"), corpus, queries, {split: Qrels(judgements)} if judgements else {})


def _ir_document(doc: Any) -> Document:
    text = doc.text if isinstance(getattr(doc, "text", None), str) else doc.default_text()
    return Document(doc.doc_id, text, getattr(doc, "title", None) or "", getattr(doc, "url", None) or "")
