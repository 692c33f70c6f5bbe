"""Does a generator say the same again? Sampled answers to one question: SelfCheckGPT's n-gram form, semantic entropy,
log-probability.

All need nothing but the generator's own words, and say how sure it is, not whether it is right: a reader that always
makes the same mistake is consistent. Higher is worse for `unigram_inconsistency` and `semantic_entropy`, better for
`mean_logprob`. Logarithms are natural.

Known gaps: both sample measures hang on the sampling temperature, and entropy from N samples is at most log N.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genir.errors import DataError
from genir.protocols import Generation
from rag.measures.negation import IDLE
from rag.measures.numbers import canonical_words
from rag.measures.support import check_once
from rag.sentences import split_sentences, words
from rag.verification import THRESHOLD, Statement, SupportChecker


@dataclass(frozen=True, slots=True)
class UnigramInconsistency:
    """Of one answer, in nats, 0 or more: the average over all its words, and the mean over its sentences of the worst word."""

    average: float
    maximum: float


def unigram_inconsistency(answer: str, samples: Sequence[str]) -> UnigramInconsistency:
    """SelfCheckGPT with a unigram model (Manakul et al. 2023, section 5.3).

    p(w) is the share of word w among the words of all samples and of the answer itself, which is what smooths it:

        average = -1/J sum_j log p(w_j),   maximum = mean over sentences i of max_j -log p(w_ij)

    as in the authors' code for a whole passage. Words are lower-cased, of Chinese every character; punctuation is no
    word, unlike theirs. An answer without words has 0. Without samples the answer is compared with itself alone.
    """
    said = words(answer)
    counts = Counter(said)
    for sample in samples:
        counts.update(words(sample))
    total = counts.total()
    if not said:
        return UnigramInconsistency(0.0, 0.0)
    surprise = {word: math.log(total / counts[word]) for word in set(said)}
    sentences = [words(answer[start:end]) for start, end in split_sentences(answer)]
    worst = [max(surprise[word] for word in sentence) for sentence in sentences if sentence]
    return UnigramInconsistency(sum(surprise[word] for word in said) / len(said), sum(worst) / len(worst))


def mean_logprob(generation: Generation) -> float | None:
    """The mean log-probability of a generation's tokens, in nats (Kadavath et al. 2022, Malinin and Gales 2021: length-normalised).

    None where the generator gave none.
    """
    return sum(generation.logprobs) / len(generation.logprobs) if generation.logprobs else None


def clusters_by_text(answers: Sequence[str], question: str = "") -> list[int]:
    """The cluster of every answer, numbered by first appearance; those of one cluster say the same beside the question.

    What an answer says is its `canonical_words` without stop words and the question's own: "The capital of Norway is Oslo." says of
    "What is the capital of Norway?" what "Oslo" does. Where nothing is left, it is all of its words.
    """
    return _numbered([_normal_form(answer, question) for answer in answers])


def clusters_by_checker(
    answers: Mapping[str, Sequence[str]],
    questions: Mapping[str, str],
    checker: SupportChecker,
    threshold: float = THRESHOLD,
) -> dict[str, list[int]]:
    """query_id -> the cluster of every answer, by bidirectional entailment (Kuhn et al. 2023, algorithm 1).

    An answer joins the first cluster whose first member supports it and is supported by it, according to the checker,
    given the question; else it begins one. Answers of one normal form are one answer. All questions are checked in one
    call: of n different answers to a question n (n - 1) statements.
    """
    distinct = {
        query_id: list({_normal_form(answer, questions[query_id]): answer for answer in reversed(said)}.values())[::-1]
        for query_id, said in answers.items()
    }
    found = check_once(
        (
            Statement(one, other, questions[query_id])
            for query_id, several in distinct.items()
            for one in several
            for other in several
            if one is not other
        ),
        checker,
    )
    clusters = {}
    for query_id, said in answers.items():
        first: list[str] = []  # the first member of each cluster
        cluster_of: dict[Hashable, int] = {}
        for answer in distinct[query_id]:
            question = questions[query_id]
            same = (
                number
                for number, member in enumerate(first)
                if all(
                    found[Statement(*pair, question)].verdict(threshold) == "supported"
                    for pair in ((answer, member), (member, answer))
                )
            )
            number = next(same, len(first))
            if number == len(first):
                first.append(answer)
            cluster_of[_normal_form(answer, question)] = number
        clusters[query_id] = _numbered([cluster_of[_normal_form(answer, questions[query_id])] for answer in said])
    return clusters


def semantic_entropy(clusters: Sequence[int], logprobs: Sequence[float] | None = None) -> float:
    """Entropy over clusters of meaning, in nats: SE = -sum_c p(c) log p(c) (Kuhn et al. 2023, eq. 3).

    Without `logprobs` p(c) is the share of samples in the cluster (Farquhar et al. 2024's discrete form). With the
    samples' (length-normalised) log-probabilities p(c) is the sum of its members' probabilities over that of all (eq.
    2, normalised as in Farquhar et al. 2024). One cluster has 0, and so have no samples. Raises DataError where the two
    lengths differ.
    """
    if logprobs is not None and len(logprobs) != len(clusters):
        raise DataError(f"{len(logprobs)} log-probabilities for {len(clusters)} samples: expected one each")
    if not clusters:
        return 0.0
    weights = np.zeros(len(clusters)) if logprobs is None else np.asarray(logprobs, dtype=np.float64)
    shares = np.exp(weights - weights.max())
    mass: dict[int, float] = defaultdict(float)
    for cluster, share in zip(clusters, shares / shares.sum(), strict=True):
        mass[cluster] += float(share)
    return max(0.0, -sum(p * math.log(p) for p in mass.values() if p > 0))


def _normal_form(answer: str, question: str) -> Hashable:
    said = canonical_words(answer)
    idle = IDLE | set(canonical_words(question))
    return tuple(word for word in said if word not in idle) or tuple(said) or answer.strip()


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    """Keys as numbers by first appearance."""
    order: dict[Hashable, int] = {}
    return [order.setdefault(key, len(order)) for key in keys]
