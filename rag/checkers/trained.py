"""The trained checker: a logistic model over features of claim, question and evidence, the span scorer's logit among them.

Two heads, since they are two tasks: `answer` for bare answers to a question, `sentence` for claims by themselves. Both tell supported from
contradicted claims, and from those of which the evidence says nothing: an answer is contradicted where the evidence answers the question
with something else. A sentence that answers a question is both, and neither head alone will do: to the first every paraphrase is something
else, and the second takes a made-up answer in the passage's words for supported. So the first is asked of what the sentence adds to its
question (`rag.checkers.sentence_claims`), the second of the sentence, and each probability is the geometric mean of theirs; of what is
denied the second alone can tell whether it is contradicted, and what is quoted never is.

Each head is a multinomial logistic regression, small enough to fit in a second once the features are there, on statements that the span
scorer has not learnt from.

Verdicts weigh alike in fitting, however many lessons each has, so that a probability above one half is meant for statements of which
nothing is known before; it is calibrated for no other mix.

Invariants: features are known by name, and a checker made for others is refused; the same lessons give the same checker. Known gap: a
right sentence in words of its own, above all one that answers without names and numbers, may be "unsupported".
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from genir.embedding import DEFAULT_ENCODER, TextEncoder
from genir.errors import ArtefactError, DataError
from genir.manifest import write_atomically, write_json
from genir.records import Verdict
from rag.attribution import contains
from rag.checkers.features import NAMES, ClaimFeatures
from rag.checkers.network import Asked, SpanScorer
from rag.checkers.sentence_claims import answers_within, is_fragment, is_quoted, is_sentence
from rag.measures.negation import stretches
from rag.sentences import words
from rag.verification import NO_SUPPORT, Statement, Support

Task = Literal["answer", "sentence"]
_TASKS: tuple[Task, ...] = ("answer", "sentence")
SHAPE_FILE = "checker.json"
_WEIGHTS, _SCORER = "checker.safetensors", "spans"
_LOGIT = "span_logit"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A statement whose verdict is known."""

    statement: Statement
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class LogisticHead:
    """softmax(weights (K, F) @ (x - mean) / deviation + bias (K)) over K verdicts."""

    verdicts: tuple[Verdict, ...]
    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Shape (N, K) of features (N, F)."""
        logits = (rows - self.mean) / self.deviation @ self.weights.T + self.bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


class ClaimChecker:
    """`fit` on lessons, or `load`; then `check`. `scorer` may be left out: then the question's words must do."""

    def __init__(self, encoder: TextEncoder | None = None, scorer: SpanScorer | None = None) -> None:
        self.encoder = encoder or TextEncoder(DEFAULT_ENCODER)
        self.scorer = scorer
        self.heads: dict[Task, LogisticHead] = {}
        self._features = ClaimFeatures(self.encoder)

    @property
    def name(self) -> str:
        """What tables call it: "features" by its features alone, "trained" with the span scorer."""
        return "features" if self.scorer is None else "trained"

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What it may say of an answer to a question; nothing before `fit` or `load`."""
        return self.heads[self._head_for("answer")].verdicts if self.heads else ()

    @property
    def features(self) -> tuple[str, ...]:
        """The names of what it weighs."""
        return NAMES if self.scorer is None else (*NAMES, _LOGIT)

    def fit(self, lessons: Sequence[Lesson], strength: float = 3.0) -> "ClaimChecker":
        """Learn a head for each task that has lessons; `strength` is scikit-learn's C, the inverse of the penalty's weight.

        Raises DataError for a task whose lessons all have one verdict, and without lessons.
        """
        if not lessons:
            raise DataError("nothing to fit a checker on: no statement with a known verdict was given")
        rows = self.rows([lesson.statement for lesson in lessons])
        self.heads = {}
        for task in _TASKS:
            chosen = [i for i, lesson in enumerate(lessons) if _task(lesson.statement) == task]
            if chosen:
                self.heads[task] = _fit_head(rows[chosen], [lessons[i].verdict for i in chosen], task, strength)
        return self

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker. A task without a head is done by the other one. Raises ArtefactError before `fit` or `load`."""
        if not self.heads:
            raise ArtefactError("the trained checker was neither fitted nor loaded; give the folder of a trained one")
        found = [NO_SUPPORT] * len(statements)
        told = [i for i, one in enumerate(statements) if one.claim.strip() and one.evidence.strip()]
        both = len(self.heads) == len(_TASKS)
        sentences = [i for i in told if both and _answers_in_a_sentence(statements[i])]
        others = sorted(set(told) - set(sentences))
        judged = self._by_task([statements[i] for i in others]) + self._sentences([statements[i] for i in sentences])
        for i, support in zip(others + sentences, judged, strict=True):
            found[i] = support
        return found

    def _sentences(self, statements: Sequence[Statement]) -> list[Support]:
        """Sentences that answer a question, by both heads: see the module."""
        alone = self._by_task([Statement(one.claim, one.evidence) for one in statements])
        added = [answers_within(one) for one in statements]
        asked = [
            Statement(answer, one.evidence, one.question)
            for one, answers in zip(statements, added, strict=True)
            for answer in answers or [one.claim]
        ]
        answered = iter(self._by_task(asked))
        found = []
        for one, answers, itself in zip(statements, added, alone, strict=True):
            shares = list(islice(answered, max(1, len(answers))))
            supported = min(share.supported for share in shares)
            contradicted = max(share.contradicted for share in shares) if answers else itself.contradicted
            if is_quoted(one):
                found.append(Support(itself.supported))
            elif any(part.denied for part in stretches(one.claim, one.question)):
                found.append(Support(min(supported, itself.supported), itself.contradicted))
            else:
                standing = all(contains(words(one.evidence), words(answer)) for answer in answers)
                holds = math.sqrt(supported * itself.supported) if standing else 0.0
                found.append(Support(holds, math.sqrt(contradicted * itself.contradicted)))
        return found

    def _by_task(self, statements: Sequence[Statement]) -> list[Support]:
        """Each statement by the head of its task; of claims and evidence that have words."""
        found = [NO_SUPPORT] * len(statements)
        rows = self.rows(statements)
        for task in _TASKS:
            places = [i for i, one in enumerate(statements) if self._head_for(_task(one)) == task]
            if not places:
                continue
            head = self.heads[task]
            for i, shares in zip(places, head.probabilities(rows[places]).tolist(), strict=True):
                by_verdict = dict(zip(head.verdicts, shares, strict=True))
                found[i] = Support(by_verdict.get("supported", 0.0), by_verdict.get("contradicted", 0.0))
        return found

    def rows(self, statements: Sequence[Statement]) -> np.ndarray:
        """Shape (N, F): the features of statements, in the order of `features`."""
        table, standings = self._features.rows(statements)
        if self.scorer is None:
            return table
        asked = [
            Asked(one.question, one.evidence, standing.places if one.question else ())
            for one, standing in zip(statements, standings, strict=True)
        ]
        # What stands nowhere gets the logit 0: the feature "nowhere" says what that is worth.
        best = [max(logits, default=0.0) for logits in self.scorer.score(asked)]
        return np.column_stack([table, np.array(best).reshape(-1, 1)])

    def save(self, folder: Path) -> None:
        """Write heads, the name of the encoder, and the span scorer where there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{task}.{name}": np.ascontiguousarray(getattr(head, name))
            for task, head in self.heads.items()
            for name in ("weights", "bias", "mean", "deviation")
        }
        write_atomically(folder / _WEIGHTS, lambda path: save_file(tensors, path))
        if self.scorer is not None:
            self.scorer.save(folder / _SCORER)
        shape = {
            "encoder": self.encoder.name,
            "features": self.features,
            "verdicts": {task: head.verdicts for task, head in self.heads.items()},
        }
        write_json(folder / SHAPE_FILE, shape)

    @classmethod
    def load(cls, folder: Path, cache_dir: Path | None = None, device: str = "auto") -> "ClaimChecker":
        """What `save` wrote. Raises ArtefactError for anything missing, broken, or made for other features."""
        try:
            shape = json.loads((folder / SHAPE_FILE).read_text(encoding="utf-8"))
            tensors = load_file(folder / _WEIGHTS)
            encoder = TextEncoder(shape["encoder"], device=device, cache_dir=cache_dir)
            checker = cls(encoder, SpanScorer.load(folder / _SCORER) if (folder / _SCORER).is_dir() else None)
            names = tuple(shape["features"])
            for task, verdicts in shape["verdicts"].items():
                parts = (tensors[f"{task}.{name}"] for name in ("weights", "bias", "mean", "deviation"))
                checker.heads[task] = LogisticHead(tuple(verdicts), *parts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(
                f"{folder}: no readable checker ({reason}); train it with `genir rag train-checker`"
            ) from None
        if names != checker.features:
            raise ArtefactError(
                f"{folder}: a checker of {len(names)} features, this version has {len(checker.features)} others: train it again with "
                "`genir rag train-checker`"
            )
        return checker

    def _head_for(self, task: Task) -> Task:
        return task if task in self.heads else next(iter(self.heads))


def _task(statement: Statement) -> Task:
    return "answer" if statement.question.strip() else "sentence"


def _answers_in_a_sentence(statement: Statement) -> bool:
    return _task(statement) == "answer" and is_sentence(statement.claim) and not is_fragment(statement)


def _fit_head(rows: np.ndarray, verdicts: Sequence[Verdict], task: Task, strength: float) -> LogisticHead:
    from sklearn.linear_model import LogisticRegression

    if len(set(verdicts)) < 2:
        raise DataError(
            f"{len(rows)} lessons for the checker's task {task!r}, all of them {verdicts[0]}: expected two verdicts at least"
        )
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1e9)  # what never varies says nothing
    model = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced")
    model.fit((rows - mean) / deviation, list(verdicts))
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps the second class's logit only
        weights, bias = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, bias)
    return LogisticHead(tuple(model.classes_.tolist()), weights, bias, mean, deviation)
