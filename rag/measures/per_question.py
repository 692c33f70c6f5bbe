"""All measures of a list of answers, question by question: {measure: {query_id: value}}.

Invariants: every question has a value in every measure that applies to it, whether it was answered or not, so that two
systems' values pair up and no mean is over answered questions only. An abstention has 0 wherever a claim is judged,
good or bad. Measures that apply to some questions only: "refusal" (to those without an accepted answer),
"over-refusal", "answer in context" and "fact-conflicting" (to those with one), the consistency measures (to those that
a generator was asked). A measure that a checker decides has its name behind it: "support (lexical)" is not what
"support (nli)" is.

| measure | 1 means |
|---|---|
| EM, F1, hallucination, abstention, coverage, refusal, over-refusal, answer in context | see `rag.scoring` |
| confidence | the reader's own, 0..1; an abstention has 0 |
| lexical support | every word of the answer stands in what it cites |
| unsupported names, unsupported numbers | the answer has one that stands neither in its passages nor in the question |
| input-conflicting, of type, of subject | see `rag.measures.hallucination` |
| fact-conflicting | contradicts every accepted answer |
| support, supported claims | the mean probability of its claims, and the share above the threshold |
| extrinsic | some claim is not to be told from what was read |
| intrinsic, context-conflicting | some claim contradicts what was read; or also the answer itself. Of checkers that see contradictions |
| citation recall, citation precision | of what the generator cited itself: see `rag.measures.citation_quality` |
| attribution recall, attribution precision | the same of all citations, those that we found for it included |
| unigram inconsistency, average and maximum; semantic entropy; mean log-probability | in nats, see `rag.measures.consistency` |
"""

from collections.abc import Mapping, Sequence

from genir.errors import DataError
from genir.measures import RunScores
from genir.protocols import Generation
from genir.records import Answer, Document, Query
from rag.measures.citation_quality import attribution_quality, citation_quality
from rag.measures.consistency import (
    clusters_by_checker,
    clusters_by_text,
    mean_logprob,
    semantic_entropy,
    unigram_inconsistency,
)
from rag.measures.hallucination import fact_conflicts, input_conflict, source_conflicts
from rag.measures.support import (
    answer_lexical_support,
    claim_support,
    claims_of,
    passages_of,
    unsupported_names,
    unsupported_numbers,
)
from rag.scoring import one_each, refusals, summarise
from rag.verification import THRESHOLD, LexicalChecker, SupportChecker, verdicts_of

PerQuery = dict[str, dict[str, float]]  # measure -> query_id -> value


def measure_answers(
    answers: Sequence[Answer],
    queries: Sequence[Query],
    documents: Mapping[str, Document],
    checker: SupportChecker | None = None,
    *,
    samples: Mapping[str, Sequence[Generation]] | None = None,
    generations: Mapping[str, Generation] | None = None,
    costly: bool = True,
    threshold: float = THRESHOLD,
) -> PerQuery:
    """Every measure that what is given allows; a question without an answer counts as an abstention.

    `checker` (None: the lexical one) is asked only where `costly`; `samples` are other answers to the same questions,
    for consistency, and `generations` the answers as they were generated, for log-probabilities. Raises DataError as
    `rag.scoring.one_each` does, for a document that is missing, and for an answered question without samples or
    log-probabilities where others have some.
    """
    complete = one_each(answers, queries)
    values: PerQuery = {m: dict(v) for m, v in summarise(complete, queries, documents).per_query.items()}
    values |= {measure: found for measure, found in refusals(complete, queries).items() if found}
    values |= _textual(complete, documents)
    facts = fact_conflicts(complete, {query.query_id: query for query in queries})
    if facts:
        values["fact-conflicting"] = {query_id: float(wrong) for query_id, wrong in facts.items()}
    if costly:
        values |= _checked(complete, documents, checker or LexicalChecker(), threshold)
    if samples is not None:
        values |= consistency(complete, samples, checker if costly else None, threshold)
    if generations is not None:
        values |= log_probabilities(complete, generations)
    return values


def consistency(
    answers: Sequence[Answer],
    samples: Mapping[str, Sequence[Generation]],
    checker: SupportChecker | None = None,
    threshold: float = THRESHOLD,
) -> PerQuery:
    """Unigram inconsistency of each answer with the samples, and the samples' semantic entropy, by text and by the
    checker if there is one.

    A question that was left unanswered may have no samples (nothing was retrieved: nothing was asked of the generator);
    it has no value then. Raises DataError for an answered one without samples.
    """
    for answer in answers:
        if not answer.abstained and not samples.get(answer.query_id):
            raise DataError(f"no sampled answer to {answer.query_id!r}: sample every question, or give no samples")
    answers = [answer for answer in answers if samples.get(answer.query_id)]
    texts = {answer.query_id: [sample.text for sample in samples[answer.query_id]] for answer in answers}
    values: PerQuery = {"unigram inconsistency, average": {}, "unigram inconsistency, maximum": {}}
    for answer in answers:
        found = unigram_inconsistency(answer.text, texts[answer.query_id])
        values["unigram inconsistency, average"][answer.query_id] = found.average
        values["unigram inconsistency, maximum"][answer.query_id] = found.maximum
    questions = {answer.query_id: answer.question for answer in answers}
    by_text = {query_id: clusters_by_text(said, questions[query_id]) for query_id, said in texts.items()}
    values["semantic entropy (text)"] = {query_id: semantic_entropy(found) for query_id, found in by_text.items()}
    if checker is not None:
        clusters = clusters_by_checker(texts, questions, checker, threshold)
        values[_by("semantic entropy", checker)] = {q: semantic_entropy(found) for q, found in clusters.items()}
    return values


def run_scores(name: str, values: PerQuery) -> RunScores:
    """What `genir.measures.compare_scores` compares: intervals, paired tests and Holm's correction over several systems."""
    means = {measure: sum(found.values()) / len(found) for measure, found in values.items() if found}
    return RunScores(name, {measure: values[measure] for measure in means}, means)


def _textual(answers: Sequence[Answer], documents: Mapping[str, Document]) -> PerQuery:
    """Measures that read texts alone."""
    values: PerQuery = {}
    for answer in answers:
        evidence = "\n".join(passage.title_and_text for passage in passages_of(answer, documents))
        claims = [claim.text for claim in claims_of(answer)]
        conflict = input_conflict(answer, documents)
        found: dict[str, float] = {
            "confidence": 0.0 if answer.abstained else answer.confidence,
            "lexical support": answer_lexical_support(answer, documents),
            "unsupported names": any(unsupported_names(claim, evidence, answer.question) for claim in claims),
            "unsupported numbers": any(unsupported_numbers(claim, evidence, answer.question) for claim in claims),
            "input-conflicting": bool(conflict),
            "input-conflicting, of type": conflict.wrong_type,
            "input-conflicting, of subject": conflict.wrong_subject,
        }
        for measure, value in found.items():
            values.setdefault(measure, {})[answer.query_id] = float(value)
    return values


def _checked(
    answers: Sequence[Answer], documents: Mapping[str, Document], checker: SupportChecker, threshold: float
) -> PerQuery:
    """Measures that a checker decides."""
    support = claim_support(answers, documents, checker, threshold)
    conflicts = source_conflicts(answers, support, checker, threshold)
    cited = citation_quality(answers, documents, checker, threshold)
    attributed = attribution_quality(answers, documents, checker, threshold)
    sees_contradiction = "contradicted" in verdicts_of(checker)
    values: PerQuery = {}
    for query_id, claims in support.items():
        n = max(1, len(claims))
        found: dict[str, float] = {
            "support": sum(claim.supported for claim in claims) / n,
            "supported claims": sum(claim.verdict == "supported" for claim in claims) / n,
            "extrinsic": conflicts[query_id].extrinsic,
            "citation recall": cited[query_id].recall,
            "citation precision": cited[query_id].precision,
            "attribution recall": attributed[query_id].recall,
            "attribution precision": attributed[query_id].precision,
        }
        if sees_contradiction:
            found |= {
                "intrinsic": conflicts[query_id].intrinsic,
                "context-conflicting": conflicts[query_id].context_conflicting,
            }
        for measure, value in found.items():
            values.setdefault(_by(measure, checker), {})[query_id] = float(value)
    return values


def log_probabilities(answers: Sequence[Answer], generations: Mapping[str, Generation]) -> PerQuery:
    """The mean log-probability of every answer that was generated; nothing where none has any.

    Raises DataError where some have log-probabilities and some have none.
    """
    told: dict[str, float] = {}
    for answer in answers:
        generation = generations.get(answer.query_id)
        value = None if generation is None else mean_logprob(generation)
        if value is not None:
            told[answer.query_id] = value
    silent = [answer.query_id for answer in answers if not answer.abstained and answer.query_id not in told]
    if told and silent:
        raise DataError(
            f"{len(silent)} answers have no log-probabilities ({silent[0]!r} first), {len(told)} have: expected them for all or for none"
        )
    return {"mean log-probability": told} if told else {}


def _by(measure: str, checker: SupportChecker) -> str:
    return f"{measure} ({checker.name})"
