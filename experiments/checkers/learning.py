"""The stage `genir rag train-checker`: questions with their passages -> a checker's folder.

Two steps. The span scorer, an encoder with a head, learns from the training questions (of `data`, and of `more` where given) and is
measured on rivals of the dev questions with even numbers, its start included. Then the logistic heads are fitted: `answer` on the
dev questions with odd numbers, which the scorer has neither learnt from nor been chosen by; `sentence` on SciFact's training claims,
where given. Without the scorer ("features") the head is fitted on the training questions.

What the heads make of statements is told for the dev questions with even numbers, which neither is fitted on.

Invariant: the questions of test splits are not even read.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.checkers.data import CheckerSet, scifact_rationales, swapped_pairs
from experiments.checkers.lessons import Questions, answer_lessons, span_lessons
from experiments.checkers.scoring import auroc, score_statements
from experiments.data_stage import tell_reused
from experiments.training.folder import TrainingFolder
from genir.config import from_mapping, load_toml
from genir.devices import pick_device, seed_everything
from genir.embedding import DEFAULT_ENCODER, TextEncoder, encoder_fingerprint
from genir.errors import ConfigError, DataError
from genir.formats import dataset_sha256, load_dataset
from genir.manifest import is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.records import Dataset, Qrels, Verdict
from genir.training import discard_checkpoint, train
from rag.checkers.network import Asked, SpanScorer
from rag.checkers.spans import stand
from rag.checkers.trained import ClaimChecker, Lesson
from rag.checkers.training import CheckerTraining, SpanLesson, SpanObjective, examples_of
from rag.verification import VERDICTS, Statement

STAGE = "claim checker"
MADE_BY = "genir rag train-checker"
_FOLDER = TrainingFolder(STAGE, "checker", ("checker.json", "checker.safetensors", "spans", "training.json"))
_FITTED = 500  # questions at most that a logistic head is fitted on: it has some fifty weights
_JUDGED = 100  # dev questions at most whose statements it gives verdicts to
_LABELS: dict[str, Verdict] = {"SUPPORT": "supported", "CONTRADICT": "contradicted"}


@dataclass(frozen=True)
class CheckerConfig:
    """Everything that `genir rag train-checker --config FILE` may set. Unknown keys are refused."""

    encoder: str = DEFAULT_ENCODER
    scorer: bool = True  # False: a logistic model of the features alone
    question_tokens: int = 48
    passage_tokens: int = 256
    shown_words: int = 50  # of a passage, in training
    wrong_passages: float = 0.15  # share of lessons whose passage does not hold the answer
    lessons: int = 0  # training questions at most, drawn at random; 0 for all
    more_lessons: int = 0  # the same, of `more`
    dev_pairs: int = 300  # swapped answers at most that its states are measured on
    strength: float = 3.0  # of the logistic heads: scikit-learn's C
    training: CheckerTraining = field(default_factory=CheckerTraining)
    device: str = "auto"

    def __post_init__(self) -> None:
        sizes = (self.question_tokens, self.passage_tokens, self.shown_words, self.dev_pairs)
        if min(sizes) < 1 or min(self.lessons, self.more_lessons) < 0:
            raise ConfigError(
                f"impossible settings: {self}; expected tokens, words and dev_pairs of 1 or more, lessons of 0 or more"
            )
        if not 0 <= self.wrong_passages < 1 or self.strength <= 0:
            raise ConfigError(
                f"wrong_passages is {self.wrong_passages} and strength {self.strength}: expected a share below 1, and a number above 0"
            )

    @classmethod
    def read(cls, path: Path | None) -> "CheckerConfig":
        """The configuration in a TOML file, or the defaults."""
        return cls() if path is None else from_mapping(cls, load_toml(path), str(path))


def train_checker(
    data: Path,
    config: CheckerConfig,
    out: Path,
    more: Path | None = None,
    scifact: Path | None = None,
    reader: Path | None = None,
    resume: bool = False,
    cache: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest. With `reader`, the scorer starts from that span reader's encoder.

    Raises DataError where there is nothing to learn from, ArtefactError for an `out` that holds something else, an unfinished training
    that is not to be resumed, or a finished one that is not to be overwritten.
    """
    dataset = load_dataset(data, ["train", "dev"])
    folders = {"data": data, "more": more, "scifact": scifact}
    inputs = {name: dataset_sha256(folder) for name, folder in folders.items() if folder is not None}
    inputs["pretrained"] = encoder_fingerprint(config.encoder)
    if reader is not None:
        inputs["reader"] = sha256_of(reader)
    seed = config.training.seed
    if is_current(out, STAGE, config, inputs, seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    _FOLDER.check(out, resume, overwrite)
    begun = time.monotonic()
    seed_everything(seed)
    dev = [half_of(dataset, "dev", parity) for parity in (0, 1)]
    chosen_by = _first_pairs(swapped_pairs(dev[0], "dev", seed), config.dev_pairs)
    scorer, facts, curve, earlier = None, dict[str, Any](), dict[str, Any](), 0.0
    if config.scorer:
        scorer = _start(config, reader)
        lessons = _lessons(dataset, more, config)
        made_of = (
            f"{inputs} {asdict(replace(config, training=CheckerTraining(), strength=1.0))}"  # all but what comes later
        )
        progress = train(
            scorer,
            SpanObjective(scorer, lessons),
            examples_of(lessons),
            _dev_figure(scorer, chosen_by),
            config.training,
            out,
            resume,
            made_of,
        )
        curve, earlier = asdict(progress), progress.earlier_seconds
        facts = {"lessons": len(lessons), "start_dev": progress.history[0]["dev"], "best_dev": progress.best}
    asked = Questions.of(dev[1], "dev") if scorer else Questions.of(dataset, "train")
    statements = list(answer_lessons(asked, seed, _FITTED))
    if scifact is not None:
        statements += sentence_lessons(scifact, "train")
    checker = ClaimChecker(TextEncoder(config.encoder, device=config.device, cache_dir=cache), scorer)
    checker.fit(statements, config.strength)
    facts |= {
        "measure": f"AUROC of {chosen_by.pairs} swapped answers of the dev questions with even numbers",
        "checker_dev": auroc(score_statements(checker, chosen_by.judged), chosen_by.judged).value,
        "verdicts_dev": verdict_table(checker, list(answer_lessons(Questions.of(dev[0], "dev"), seed, _JUDGED))),
        "statements": len(statements),
        "seconds": round(earlier + time.monotonic() - begun, 1),
    }
    _FOLDER.clear(out)
    checker.save(out)
    if scorer is not None:
        write_json(out / "training.json", curve)
    manifest = write_manifest(out, STAGE, config, inputs, seed, **facts)
    discard_checkpoint(out)
    return manifest


def half_of(dataset: Dataset, split: str, parity: int) -> Dataset:
    """The data set with every other question of a split: the first, third, ... for parity 0."""
    judged = dataset.qrels[split].judgements
    kept = {query_id: judged[query_id] for query_id in list(judged)[parity::2]}
    return Dataset(dataset.name, dataset.corpus, dataset.queries, {**dataset.qrels, split: Qrels(kept)})


def verdict_table(checker: ClaimChecker, lessons: Sequence[Lesson]) -> dict[Verdict, dict[Verdict, int]]:
    """right verdict -> given verdict -> how many of the lessons: what the one threshold of all checkers makes of its probabilities."""
    table: dict[Verdict, dict[Verdict, int]] = {right: dict.fromkeys(VERDICTS, 0) for right in VERDICTS}
    for lesson, said in zip(lessons, checker.check([lesson.statement for lesson in lessons]), strict=True):
        table[lesson.verdict][said.verdict()] += 1
    return table


def sentence_lessons(scifact: Path, split: str) -> list[Lesson]:
    """Claims against their rationales, and against another sentence of the same abstract, which does not tell."""
    dataset = load_dataset(scifact, [split])
    lessons = []
    for number, (query, rationale) in enumerate(scifact_rationales(scifact, dataset, split)):
        if rationale is None:
            continue
        label, evidence, others = rationale
        lessons.append(Lesson(Statement(query.text, evidence), _LABELS[label]))
        if others:
            lessons.append(Lesson(Statement(query.text, others[number % len(others)]), "unsupported"))
    return lessons


def _start(config: CheckerConfig, reader: Path | None) -> SpanScorer:
    """The scorer before training: the encoder's weights, or those of a span reader, and a fresh head."""
    shape = {"question_tokens": config.question_tokens, "passage_tokens": config.passage_tokens}
    scorer = SpanScorer.of_reader(reader, **shape) if reader else SpanScorer.fresh(config.encoder, **shape)
    return scorer.to(pick_device(config.device))


def _lessons(dataset: Dataset, more: Path | None, config: CheckerConfig) -> list[SpanLesson]:
    settings = (config.shown_words, config.wrong_passages, config.training.seed)
    lessons = span_lessons(Questions.of(dataset, "train"), *settings, most=config.lessons)
    if more is not None:
        other = load_dataset(more, ["train"])
        lessons += span_lessons(Questions.of(other, "train"), *settings, most=config.more_lessons)
    if not lessons:
        raise DataError(
            f"{dataset.name}: no training question has an answer in its passage: nothing to train a checker on"
        )
    return lessons


def _first_pairs(made: CheckerSet, most: int) -> CheckerSet:
    """Its first pairs; they stand one after the other, right and wrong."""
    return replace(made, judged=made.judged[: 2 * most])


def _dev_figure(scorer: SpanScorer, dev: CheckerSet) -> Callable[[], float]:
    """A function that gives the AUROC of the scorer as it is on swapped answers."""
    statements = [one.statement for one in dev.judged]
    asked = [Asked(one.question, one.evidence, stand(one).places) for one in statements]

    def figure() -> float:
        logits = [max(found, default=0.0) for found in scorer.score(asked)]
        scorer.train()
        return round(auroc(logits, dev.judged, resamples=1).value, 6)

    return figure
