"""What support checkers are measured on: right and wrong claims with their evidence, from real data.

    halueval-qa          the right answer against a hallucinated one for the same passage (HaluEval: Li et al. 2023)
    halueval-qa-matched  those of its pairs that differ by at most one word in length: there "shorter is right" says little
    squad-swapped        SQuAD's answer against another span of the same passage, with as many words and of one kind
    scifact              sentences that support a claim against sentences that contradict one (SciFact: Wadden et al. 2020)

Invariants: what is made depends on the folder and the seed alone; a question that gives no pair is counted in `left_out`, never lost
silently. Known gap: SciFact's rationales are numbers of sentences, and the folder holds whole abstracts, so that they are split
here; a number beyond the sentences found leaves the rationale out.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genir.errors import DataError
from genir.formats import QUERIES, load_dataset
from genir.records import Dataset, Document, Query
from rag.attribution import lexical_support
from rag.checkers.spans import Place, rivals
from rag.sentences import split_sentences
from rag.verification import Statement


@dataclass(frozen=True, slots=True)
class Judged:
    """A statement, whether its evidence supports it, and the number of its question: what is drawn together in a bootstrap."""

    statement: Statement
    right: bool
    group: int


@dataclass(frozen=True)
class CheckerSet:
    """One data set: its statements, and how many questions or pairs could not be used."""

    name: str
    judged: tuple[Judged, ...]
    left_out: int

    @property
    def pairs(self) -> int:
        """How many wrong statements there are: each is one of a pair, but for SciFact's."""
        return sum(not one.right for one in self.judged)


def checker_sets(root: Path, seed: int = 0) -> list[CheckerSet]:
    """All four, from the folders of `root` that bear their names. Raises DataError where one is missing or malformed."""
    halueval, squad, scifact = (root / name for name in ("halueval-qa", "squad-small", "scifact"))
    matched = halueval_pairs(halueval, most_words_apart=1)
    return [
        halueval_pairs(halueval),
        matched,
        swapped_pairs(load_dataset(squad, ["test"]), "test", seed),
        scifact_sentences(scifact, "test"),
    ]


def halueval_pairs(folder: Path, most_words_apart: int | None = None) -> CheckerSet:
    """Every hallucinated answer beside the right one; only pairs of about one length where `most_words_apart` says so."""
    dataset = load_dataset(folder, ["test"])
    documents = dataset.documents()
    judged: list[Judged] = []
    left_out = 0
    for group, record in enumerate(_records(folder / QUERIES, "hallucinated_answers")):
        query = dataset.queries[record["_id"]]
        [doc_id, *_] = dataset.qrels["test"].relevant(query.query_id)
        right = query.answers[0]
        for wrong in record["hallucinated_answers"]:
            if most_words_apart is not None and abs(len(right.split()) - len(wrong.split())) > most_words_apart:
                left_out += 1
                continue
            judged += _pair(query.text, documents[doc_id].text, right, wrong, group)
    name = "halueval-qa" if most_words_apart is None else "halueval-qa-matched"
    return CheckerSet(name, tuple(judged), left_out)


def swapped_pairs(dataset: Dataset, split: str, seed: int = 0) -> CheckerSet:
    """SQuAD's answer against one rival span, drawn at random, for every question of a split whose passage holds one."""
    rng = random.Random(f"{seed} {split}")
    judged: list[Judged] = []
    left_out = 0
    documents = dataset.documents()
    for group, query in enumerate(dataset.split(split)):
        found = answer_and_rivals(query, documents[_only(dataset, split, query)])
        if found is None or not found[1]:
            left_out += 1
            continue
        answer, spans = found
        passage = documents[_only(dataset, split, query)].text
        start, end = rng.choice(spans)
        judged += _pair(query.text, passage, answer, passage[start:end], group)
    return CheckerSet("squad-swapped", tuple(judged), left_out)


def answer_and_rivals(query: Query, document: Document) -> tuple[str, list[Place]] | None:
    """The first accepted answer that stands in the passage, and its rivals there; None where none stands."""
    for answer in query.answers:
        if answer.strip() and answer in document.text:
            return answer, rivals(answer, document.text, query.answers, query.text)
    return None


def scifact_sentences(folder: Path, split: str) -> CheckerSet:
    """Rationales of a split's claims: SUPPORT is right, CONTRADICT is wrong."""
    dataset = load_dataset(folder, [split])
    judged: list[Judged] = []
    left_out = 0
    claims: dict[str, int] = {}
    for query, rationale in scifact_rationales(folder, dataset, split):
        if rationale is None:
            left_out += 1
            continue
        label, evidence, _ = rationale
        group = claims.setdefault(query.query_id, len(claims))
        judged.append(Judged(Statement(query.text, evidence), label == "SUPPORT", group))
    return CheckerSet("scifact", tuple(judged), left_out)


def scifact_rationales(
    folder: Path, dataset: Dataset, split: str
) -> Iterator[tuple[Query, tuple[str, str, tuple[str, ...]] | None]]:
    """For every rationale of a split: its claim, and (label, its sentences, the abstract's others); None where it is not found."""
    documents = dataset.documents()
    wanted = {query.query_id for query in dataset.split(split)}
    for record in _records(folder / QUERIES, "evidence"):
        if record["_id"] not in wanted:
            continue
        for one in record["evidence"]:
            text = documents[one["doc"]].text
            sentences = [text[start:end] for start, end in split_sentences(text)]
            numbers = one["sentences"]
            if not numbers or max(numbers) >= len(sentences):
                yield dataset.queries[record["_id"]], None
                continue
            others = tuple(sentence for k, sentence in enumerate(sentences) if k not in numbers)
            yield dataset.queries[record["_id"]], (one["label"], " ".join(sentences[k] for k in numbers), others)


# --- baselines that read nothing ------------------------------------------------------------------------------------------


def shortness(statement: Statement) -> float:
    """Shorter is right: minus the claim's number of characters."""
    return -float(len(statement.claim))


def containment(statement: Statement) -> float:
    """The share of the claim's words that stand in the passage, all words alike."""
    return lexical_support(statement.claim, statement.evidence)


BASELINES: Mapping[str, Callable[[Statement], float]] = {"length": shortness, "containment": containment}


def _pair(question: str, passage: str, right: str, wrong: str, group: int) -> list[Judged]:
    return [
        Judged(Statement(claim, passage, question), is_right, group)
        for claim, is_right in ((right, True), (wrong, False))
    ]


def _only(dataset: Dataset, split: str, query: Query) -> str:
    return dataset.qrels[split].relevant(query.query_id)[0]


def _records(path: Path, key: str) -> Iterator[dict[str, Any]]:
    """The lines of a queries.jsonl that was read without fault before; each must hold the list `key`."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                record = json.loads(line)
                if not isinstance(record.get(key), list):
                    raise DataError(
                        f"{path}:{number}: has no list {key!r}, which a checker is measured by; give that data set's folder"
                    )
                yield record
