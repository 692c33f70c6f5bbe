"""Answers against accepted answers: exact match, F1, and how often a reader is wrong, silent, or right.

Exact match and F1 are SQuAD's (Rajpurkar et al. 2016, evaluate-v1.1): lower-cased, punctuation and English articles
removed, the best over the accepted answers. Chinese, Japanese and Korean are compared by characters. Every question
counts, an abstention as a wrong answer for EM and F1, and as a right one (1.0) where the question has no answer
(SQuAD 2.0's rule, Rajpurkar et al. 2018).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genir.errors import DataError
from genir.records import Answer, Document, Query
from rag.attribution import contains
from rag.measures.support import passages_of
from rag.sentences import words


def normalise(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no English article, single spaces; Unicode punctuation too."""
    lowered = unicodedata.normalize("NFKC", text).lower()
    bare = "".join(c for c in lowered if not unicodedata.category(c).startswith(("P", "S")))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def exact_match(text: str, accepted: Sequence[str]) -> float:
    """1.0 where the text equals an accepted answer in normal form."""
    said = _tokens(text)
    return float(any(said == _tokens(answer) for answer in accepted))


def f1(text: str, accepted: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words (characters for CJK), the best over the accepted answers."""
    return max((_f1(_tokens(text), _tokens(answer)) for answer in accepted), default=0.0)


def answer_in_context(accepted: Sequence[str], passages: Sequence[Document]) -> float:
    """1.0 where a passage holds an accepted answer as a run of words: an upper bound for a reader that copies."""
    texts = [_tokens(passage.title_and_text) for passage in passages]
    return float(any(contains(text, _tokens(answer)) for text in texts for answer in accepted))


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Per-question values and their means. `per_query[measure][query_id]`; every query of the set stands in each measure.

    "answer in context" stands only where documents were given, and only for questions that have an answer.
    """

    per_query: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, float]


def score_answer(answer: Answer, query: Query) -> dict[str, float]:
    """EM, F1, hallucination (answered and wrong), abstention, coverage (answered at all) of one answer."""
    if query.answers:
        em = 0.0 if answer.abstained else exact_match(answer.text, query.answers)
        f_one = 0.0 if answer.abstained else f1(answer.text, query.answers)
    else:
        em = f_one = float(answer.abstained)
    return {
        "EM": em,
        "F1": f_one,
        "hallucination": float(not answer.abstained and em == 0.0),
        "abstention": float(answer.abstained),
        "coverage": float(not answer.abstained),
    }


def one_each(answers: Sequence[Answer], queries: Sequence[Query]) -> list[Answer]:
    """One answer a query, in the queries' order; a question that was not answered at all counts as an abstention.

    Raises DataError for an answer to a question that is not among the queries, or for two answers to one question.
    """
    by_id: dict[str, Answer] = {}
    known = {query.query_id for query in queries}
    for answer in answers:
        if answer.query_id not in known:
            raise DataError(f"answer to {answer.query_id!r}: no such question among the {len(known)} queries")
        if answer.query_id in by_id:
            raise DataError(f"two answers to {answer.query_id!r}: expected one a question")
        by_id[answer.query_id] = answer
    return [by_id.get(query.query_id) or Answer(query.query_id, query.text, "", abstained=True) for query in queries]


def summarise(
    answers: Sequence[Answer], queries: Sequence[Query], documents: Mapping[str, Document] | None = None
) -> AnswerScores:
    """Scores of one system's answers over all `queries`, one each (`one_each`, and its errors).

    With `documents`, "answer in context" is measured too, over the passages that each answer records. Raises DataError
    for one that is not among the documents.
    """
    per_query: dict[str, dict[str, float]] = {}
    for query, answer in zip(queries, one_each(answers, queries), strict=True):
        values = score_answer(answer, query)
        if documents is not None and query.answers:
            values["answer in context"] = answer_in_context(query.answers, passages_of(answer, documents))
        for measure, value in values.items():
            per_query.setdefault(measure, {})[query.query_id] = value
    return AnswerScores(per_query, {m: sum(v.values()) / len(v) for m, v in per_query.items()})


def refusals(answers: Sequence[Answer], queries: Sequence[Query]) -> dict[str, dict[str, float]]:
    """On a mix of questions with and without an answer: {"refusal": ..., "over-refusal": ...}, each query_id -> 1.0 for
    an abstention.

    Refusal is over the questions that have no accepted answer (the recall of abstention), over-refusal over those that
    have one. A kind that the mix lacks has no value.
    """
    kinds: dict[str, dict[str, float]] = {"refusal": {}, "over-refusal": {}}
    for query, answer in zip(queries, one_each(answers, queries), strict=True):
        kinds["over-refusal" if query.answers else "refusal"][query.query_id] = float(answer.abstained)
    return kinds


def _tokens(text: str) -> list[str]:
    """Words of the normal form; the raw words where normalising leaves nothing (an answer "A" or "+")."""
    return words(normalise(text)) or words(text) or text.split()


def _f1(said: Sequence[str], accepted: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(accepted)).values())
    if not said or not accepted:
        return float(said == accepted)
    if common == 0:
        return 0.0
    precision, recall = common / len(said), common / len(accepted)
    return 2 * precision * recall / (precision + recall)
