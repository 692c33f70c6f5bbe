"""Readers and writers of the files between the stages: BEIR folders, TREC runs and qrels, answers.jsonl.

A dataset is a BEIR folder: `corpus.jsonl` (`_id`, `text`, perhaps `title` and `url`), `queries.jsonl` (`_id`, `text`,
perhaps `answers`; other keys are ignored) and `qrels/<split>.tsv`. Only the corpus must be there.

Invariants: every reader streams line by line and names file and line in its errors; every writer is all-or-nothing;
blank lines are allowed; text is UTF-8. Ids hold no white space, because TREC files end a field at it. A run is ranked
by score whatever its rank column says, and equal scores stand in ascending order of doc_id, as in `Run.rank`
(trec_eval takes the descending order; `genir.measures` scores ours).

Known gaps: no compressed files; floating-point gains are refused.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genir.config import from_mapping
from genir.errors import ConfigError, DataError
from genir.manifest import MANIFEST, sha256_of, write_atomically
from genir.records import Answer, Dataset, Document, Qrels, Query, Run

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
_HEADER = ("query-id", "corpus-id", "score")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_WHITE_SPACE = re.compile(r"\s")
_LAYOUT = (
    f"a BEIR folder holds {CORPUS}, {QUERIES} and {QRELS}/<split>.tsv; `genir data import SOURCE --out DIR` makes one "
    "from a SQuAD JSON, an ir_datasets id or a folder of texts"
)


def read_corpus(path: Path) -> Iterator[Document]:
    """The documents of a corpus.jsonl, in order. Raises DataError with file and line (both lines of a repeated id)."""
    for where, record in _unique_records(path, "document"):
        metadata = record.get("metadata")  # where BEIR's own corpora keep the URL
        nested = metadata.get("url") if isinstance(metadata, dict) else None
        url = record.get("url") or nested
        yield Document(
            record["_id"],
            _string(where, "text", record.get("text")),
            title=_string(where, "title", record.get("title") or ""),
            url=_string(where, "url", url or ""),
        )


def read_queries(path: Path) -> Iterator[Query]:
    """The queries of a queries.jsonl, in order, with their `answers`. Raises DataError with file and line."""
    for where, record in _unique_records(path, "query"):
        answers = record.get("answers") or []
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise DataError(f'{where}: "answers" must be a list of strings, got {_short(answers)}')
        for answer in answers:
            check_text(where, "answers", answer)
        yield Query(record["_id"], _string(where, "text", record.get("text")), tuple(answers))


def read_qrels(
    path: Path, *, queries: Collection[str] | None = None, documents: Collection[str] | None = None
) -> Qrels:
    """Judgements from a BEIR file (header, three tab-separated fields) or a TREC file (`query 0 document gain`).

    With `queries` or `documents`, an id that is not among them is an error. Raises DataError with file and line.
    """
    judgements: dict[str, dict[str, int]] = {}
    for number, query_id, doc_id, gain in _judgements(path):
        where = f"{path}:{number}"
        if queries is not None and query_id not in queries:
            raise DataError(f"{where}: no query has the id {query_id!r}; add it to {QUERIES} or delete the line")
        if documents is not None and doc_id not in documents:
            raise DataError(f"{where}: no document has the id {doc_id!r}; add it to {CORPUS} or delete the line")
        if judgements.setdefault(query_id, {}).setdefault(doc_id, gain) != gain:
            earlier = judgements[query_id][doc_id]
            raise DataError(f"{where}: query {query_id!r}, document {doc_id!r}: gain {gain}, but {earlier} further up")
    return Qrels(judgements)


def load_dataset(folder: Path, splits: Sequence[str] | None = None, *, strict: bool = True) -> Dataset:
    """A BEIR folder, read and checked; `splits` of the qrels, or all of them.

    Raises DataError: a missing folder, file or split, a malformed line, an empty corpus, an id that stands twice, a
    judged id that no document or query has. `strict=False` lets the last pass: `genir.inspection` counts them.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {_LAYOUT}")
    if not (folder / CORPUS).is_file():
        raise DataError(f"{folder}: has no {CORPUS}; {_LAYOUT}")
    present = _splits_in(folder)
    missing = [split for split in splits or () if split not in present]
    if missing:
        raise DataError(f"{folder}: has no split {missing[0]!r} ({QRELS}/{missing[0]}.tsv); {_present(present)}")
    corpus = tuple(read_corpus(folder / CORPUS))
    if not corpus:
        raise DataError(f"{folder / CORPUS}: holds no document; a corpus needs at least one")
    queries = (
        {query.query_id: query for query in read_queries(folder / QUERIES)} if (folder / QUERIES).is_file() else {}
    )
    doc_ids = {document.doc_id for document in corpus}
    known: dict[str, Collection[str]] = {"queries": queries, "documents": doc_ids} if strict else {}
    qrels = {
        split: read_qrels(folder / QRELS / f"{split}.tsv", **known) for split in (present if splits is None else splits)
    }
    return Dataset(folder.resolve().name, corpus, queries, qrels)


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a BEIR folder whole or not at all; a dataset that stands there is replaced.

    Raises DataError where `folder` is a file, or holds anything but a dataset and its manifest, and for ids that no
    reader would take: empty, with white space, or twice among the documents.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file; give the name of a new folder")
    others = sorted({path.name for path in folder.glob("*")} - {CORPUS, QUERIES, QRELS, MANIFEST})
    if others:
        raise DataError(
            f"{folder}: already holds other things ({', '.join(others[:3])}); give the name of a new folder"
        )
    seen: set[str] = set()
    for document in dataset.corpus:
        _check_id("document", document.doc_id, str(folder))
        if document.doc_id in seen:
            raise DataError(f"{folder}: cannot write two documents with the id {document.doc_id!r}")
        seen.add(document.doc_id)
    for query_id in dataset.queries:
        _check_id("query", query_id, str(folder))
    folder = folder.resolve()  # "." has no name to put a temporary folder beside
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, stale = (folder.with_name(f".{folder.name}.{os.getpid()}.{suffix}") for suffix in ("new", "old"))
    try:
        (fresh / QRELS).mkdir(parents=True)
        _write_lines(fresh / CORPUS, (_document_line(document) for document in dataset.corpus))
        _write_lines(fresh / QUERIES, (_query_line(query) for query in dataset.queries.values()))
        for split, qrels in dataset.qrels.items():
            rows = ((q, d, str(gain)) for q, judged in qrels.judgements.items() for d, gain in judged.items())
            _write_lines(fresh / QRELS / f"{split}.tsv", ("\t".join(row) for row in (_HEADER, *rows)))
        if folder.exists():
            folder.rename(stale)
        fresh.rename(folder)
    finally:
        if stale.exists() and not folder.exists():  # interrupted between the two renames: the old one comes back
            stale.rename(folder)
        for path in (fresh, stale):
            shutil.rmtree(path, ignore_errors=True)


def dataset_sha256(folder: Path) -> str:
    """Hex digest of a BEIR folder's corpus, queries and qrels (names and contents); other files do not count."""
    files = [folder / CORPUS, folder / QUERIES, *(folder / QRELS / f"{split}.tsv" for split in _splits_in(folder))]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def read_run(path: Path) -> Run:
    """A TREC run (`query Q0 document rank score tag`), named by its first tag; ranked anew by score, ties by doc_id.

    Raises DataError with file and line: another number of fields, a score that is no finite number, a document twice in
    one ranking.
    """
    name, scores = path.stem, dict[str, dict[str, float]]()
    for number, line in _lines(path):
        fields = line.split()
        if len(fields) != 6:
            raise DataError(f"{path}:{number}: expected 6 fields (query Q0 document rank score tag), got {len(fields)}")
        query_id, _, doc_id, _, score, tag = fields
        name = name if scores else tag
        ranking = scores.setdefault(query_id, {})
        if doc_id in ranking:
            raise DataError(f"{path}:{number}: document {doc_id!r} stands twice in the ranking of query {query_id!r}")
        ranking[doc_id] = _score(score, f"{path}:{number}")
    return Run(name, {query_id: Run.rank(ranking, len(ranking)) for query_id, ranking in scores.items()})


def write_run(run: Run, path: Path) -> None:
    """Write a TREC run atomically; scores in full, so that reading gives the same floats back.

    White space in the run's name becomes "_". Raises DataError for an id with white space and for a score that is not
    finite.
    """
    tag = "_".join(run.name.split()) or "run"

    def lines() -> Iterator[str]:
        for query_id, ranking in run.rankings.items():
            _check_id("query", query_id, str(path))
            for rank, scored in enumerate(ranking, start=1):
                _check_id("document", scored.doc_id, str(path))
                score = _score(scored.score, f"{path}: query {query_id!r}, document {scored.doc_id!r}")
                yield f"{query_id} Q0 {scored.doc_id} {rank} {score!r} {tag}"

    write_atomically(path, lambda temporary: _write_lines(temporary, lines()))


def read_answers(path: Path) -> Iterator[Answer]:
    """The answers of an answers.jsonl, in order. Raises DataError with file and line."""
    for number, record in _objects(path):
        try:
            yield from_mapping(Answer, record, f"{path}:{number}")
        except ConfigError as error:
            raise DataError(str(error)) from None


def write_answers(answers: Iterable[Answer], path: Path) -> None:
    """Write answers.jsonl atomically, one answer a line."""
    lines = (json.dumps(asdict(answer), ensure_ascii=False) for answer in answers)
    write_atomically(path, lambda temporary: _write_lines(temporary, lines))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of the lines that are not blank."""
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise DataError(f"{path}:{number}: not valid UTF-8 at byte {error.start} of the line") from None
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not valid JSON (cut short?): {error.msg} at character {error.pos + 1}") from None
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected one JSON object a line, got {_short(record)}")
        yield number, record


def _unique_records(path: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", record) of records whose `_id` is a good id and stands once."""
    lines: dict[str, int] = {}
    for number, record in _objects(path):
        where = f"{path}:{number}"
        identifier = _string(where, "_id", record.get("_id"))
        _check_id(kind, identifier, where)
        if identifier in lines:
            raise DataError(f"{where}: the {kind} id {identifier!r} stands already in line {lines[identifier]}")
        lines[identifier] = number
        yield where, record


def _judgements(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """(line number, query_id, doc_id, gain); the first line decides between BEIR and TREC."""
    trec: bool | None = None
    for number, line in _lines(path):
        fields = line.split("\t")
        if trec is None:
            trec = len(fields) != 3 and len(line.split()) == 4
            if tuple(fields) == _HEADER:
                continue
        fields = line.split() if trec else fields
        if len(fields) != (4 if trec else 3):
            expected = "4 fields (query 0 document gain)" if trec else "3 tab-separated fields"
            raise DataError(f"{path}:{number}: expected {expected}, got {len(fields)}")
        if not _INTEGER.fullmatch(fields[-1].strip()):
            raise DataError(f"{path}:{number}: expected an integer gain, got {fields[-1]!r}")
        yield number, fields[0], fields[-2], int(fields[-1])


def _splits_in(folder: Path) -> list[str]:
    """Names of the qrels files: train, dev, test, then any others by name."""
    usual = {"train": 0, "dev": 1, "test": 2}
    return sorted((path.stem for path in (folder / QRELS).glob("*.tsv")), key=lambda name: (usual.get(name, 3), name))


def _present(splits: Sequence[str]) -> str:
    return f"there are: {', '.join(splits)}" if splits else f"there are none: add {QRELS}/<split>.tsv to judge queries"


def _string(where: str, key: str, value: object) -> str:
    if value is None:
        raise DataError(f'{where}: "{key}" is missing')
    if not isinstance(value, str):
        raise DataError(f'{where}: "{key}" must be a string, got {_short(value)}')
    check_text(where, key, value)
    return value


def check_text(where: str, key: str, value: str) -> None:
    """Raise DataError for half a surrogate pair, which JSON can spell but no UTF-8 file can hold."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DataError(
                f'{where}: "{key}" holds half a surrogate pair (\\ud800 to \\udfff), not a character'
            ) from None


def _check_id(kind: str, identifier: str, where: str) -> None:
    if not identifier or _WHITE_SPACE.search(identifier):
        fault = "holds white space" if identifier else "is empty"
        raise DataError(
            f"{where}: the {kind} id {identifier!r} {fault}; TREC files cannot hold it: rename it, e.g. with _"
        )


def _score(value: str | float, where: str) -> float:
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{where}: expected a finite number as score, got {value!r}")
    return score


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _document_line(document: Document) -> str:
    record = {"_id": document.doc_id, "title": document.title, "text": document.text}
    return json.dumps(record | ({"url": document.url} if document.url else {}), ensure_ascii=False)


def _query_line(query: Query) -> str:
    record: dict[str, Any] = {"_id": query.query_id, "text": query.text}
    return json.dumps(record | ({"answers": list(query.answers)} if query.answers else {}), ensure_ascii=False)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)
