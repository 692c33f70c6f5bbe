"""Identifiers learned end to end: rounds of training the model on the identifiers, and assigning them anew by the model.

A round trains the code decoder (encoder and codebooks) by its objective, and the codebooks alone by the reconstruction
loss of `genir.reconstruction`, too; no document's codes change within it. Between two rounds every document is embedded
by the encoder as it is then, and `docids.learned` assigns codes anew, balanced and distinct; each time a longer prefix
keeps its codes (GenRet, Sun et al. 2023, arXiv:2304.04171, fixes prefixes as it goes), so fewer documents change and the
last rounds learn what stays. A round goes on from where the one before ended, be it below its best.

Invariants: what is returned is the model and the identifiers of the best figure on dev, the start's among them; a run
that was cut resumes at the step where its round stood, and ends, on the CPU, with the same weights. All that a
resumption needs lies in the hidden folder `.rounds`, no output of the stage; `discard_rounds` removes it.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from docids.learned import Reassignment, codes_of
from docids.table import DocIDTable
from experiments.training.learned_rounds import BEST, Round, codebooks_of
from genir.checkpoint import Progress
from genir.errors import ArtefactError, ConfigError
from genir.models.code_decoder import CodeDecoder
from genir.objectives import Objective
from genir.reconstruction import ReconstructionObjective, document_vectors
from genir.records import Document
from genir.training import Example, TrainingConfig, train

ROUNDS = ".rounds"


@dataclass(frozen=True)
class LearnedConfig:
    """How identifiers are learned with the model. `rounds` 0 keeps them as they were built, 1 only adds the
    reconstruction loss; each round trains for the epochs (and at most the minutes) of [training].

    `slack`, `shrink`, `inertia` and `ridge`: see docids.learned.Reassignment. `reconstruction` weighs that loss, and
    `commitment` the squared distance in it; `prefixes` are those it rebuilds. Documents are read to `document_tokens`.
    """

    rounds: int = 0
    slack: float = 2.0
    shrink: float = 1.0
    inertia: float = 0.1
    ridge: float = 32.0
    reconstruction: float = 0.5
    commitment: float = 1.0
    prefixes: tuple[int, ...] = (1, 2, 4)
    document_tokens: int = 256

    def __post_init__(self) -> None:
        Reassignment(self.slack, self.shrink, self.inertia, self.ridge)  # refuses what is impossible
        least = min(self.rounds, self.reconstruction, self.commitment, *(m - 1 for m in self.prefixes))
        if least < 0 or self.document_tokens < 2:
            raise ConfigError(
                f"impossible [learned]: {self}; expected prefixes >= 1, document_tokens >= 2, and nothing below 0"
            )

    def reassignment(self, number: int, levels: int, seed: int) -> Reassignment | None:
        """How codes are assigned before round `number`: not before the first; then longer and longer prefixes stay."""
        if number == 0:
            return None
        fixed = levels * (number - 1) // (self.rounds - 1)
        return Reassignment(self.slack, self.shrink, self.inertia, self.ridge, fixed, seed + number)


@dataclass(frozen=True)
class Lesson:
    """What one table of identifiers makes of the data: examples, objective, the figure on dev, and facts to report."""

    examples: Sequence[Example]
    objective: Objective
    figure: Callable[[], float]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Learned:
    """The best table, training as one course over all rounds, every round's figures, and a lesson's facts."""

    table: DocIDTable
    progress: Progress
    rounds: list[dict[str, Any]]
    facts: Mapping[str, Any]


def learn_identifiers(
    model: Any,
    table: DocIDTable,
    corpus: Sequence[Document],
    lesson: Callable[[DocIDTable], Lesson],
    settings: LearnedConfig,
    training: TrainingConfig,
    folder: Path,
    resume: bool = False,
    made_of: str = "",
) -> Learned:
    """Train `model` and its identifiers in rounds, and leave the model with the best weights.

    Without rounds the identifiers stay, and `genir.training.train` is all there is. `lesson` makes examples, objective
    and figure for a table. Raises ArtefactError for identifiers without codebooks, and for a `folder` with an unfinished
    training where `resume` is not asked for; and what `genir.training.train` raises.
    """
    if (folder / ROUNDS).exists() and not resume:
        raise ArtefactError(
            f"{folder}: holds an unfinished training; go on with --resume, or delete {ROUNDS} there to begin anew"
        )
    taught = lesson(table)
    if not settings.rounds:
        progress = train(model, taught.objective, taught.examples, taught.figure, training, folder, resume, made_of)
        return Learned(table, progress, [], taught.facts)
    assert isinstance(model, CodeDecoder)
    levels = codes_of(table).shape[1]
    texts = [document.title_and_text for document in corpus]
    rounds: list[Round] = []
    earlier_seconds = 0.0
    for number in range(settings.rounds):
        one = Round(folder / ROUNDS / f"round-{number}", number, _plan(made_of, settings, training))
        if not one.restore(model):
            vectors = document_vectors(model, texts, settings.document_tokens)
            one.begin(model, table, vectors, settings.reassignment(number, levels, training.seed), asdict(settings))
        table = one.table()
        if one.is_done():
            earlier_seconds += one.progress().seconds
        else:
            _train_round(one, model, table, lesson(table) if number else taught, settings, training)
            earlier_seconds += one.progress().earlier_seconds
        rounds.append(one)
        print(_line(one.figures()), file=sys.stderr)
    best = max(rounds, key=lambda one: (one.figures()["best_dev"], -one.number))
    best.load(model, BEST)
    best_table = replace(best.table(), codebooks=codebooks_of(model, table))
    course = replace(_course(rounds), earlier_seconds=earlier_seconds)
    return Learned(best_table, course, [one.figures() for one in rounds], taught.facts)


def _plan(made_of: str, settings: LearnedConfig, training: TrainingConfig) -> str:
    """What must not change between two rounds; as within one, when to stop and how often to write may."""
    free = replace(training, max_minutes=0.0, patience=0, checkpoint_every=0)
    return json.dumps([made_of, asdict(settings), asdict(free)])


def discard_rounds(folder: Path) -> None:
    """Remove what a resumption would need; for the caller to do once the model is saved."""
    shutil.rmtree(folder / ROUNDS, ignore_errors=True)


def _train_round(
    one: Round,
    model: CodeDecoder,
    table: DocIDTable,
    taught: Lesson,
    settings: LearnedConfig,
    training: TrainingConfig,
) -> None:
    """One round's training, from its start or its checkpoint to its end."""
    identifiers = table.identifiers()
    objective = ReconstructionObjective(
        taught.objective,
        model,
        identifiers,
        _by_identifier(table, one.vectors()),
        settings.prefixes,
        settings.reconstruction,
        settings.commitment,
    )
    config = replace(training, seed=training.seed + one.number)
    progress = train(model, objective, taught.examples, taught.figure, config, one.folder, True, one.made_of)
    one.finish(model, progress)


def _by_identifier(table: DocIDTable, vectors: np.ndarray) -> np.ndarray:
    """The mean vector of every identifier's documents, in the order of `table.identifiers()`."""
    row_of = {doc_id: row for row, doc_id in enumerate(table.tokens)}
    groups = [[row_of[doc_id] for doc_id in table.documents_of(tokens)] for tokens in table.identifiers()]
    return np.stack([vectors[rows].mean(axis=0) for rows in groups])


def _course(rounds: Sequence[Round]) -> Progress:
    """All rounds as one course of training: steps and seconds run on; every round begins with its own start."""
    course = Progress()
    for one in rounds:
        part = one.progress()
        course.history += [
            {
                **entry,
                "step": course.step + entry["step"],
                "seconds": round(course.seconds + entry["seconds"], 1),
                "round": one.number,
            }
            for entry in part.history
        ]
        if part.best > course.best:
            course.best, course.best_step = part.best, course.step + part.best_step
        course.step, course.seconds = course.step + part.step, course.seconds + part.seconds
    return course


def _line(figures: Mapping[str, Any]) -> str:
    return (
        f"round {figures['round']}: {figures['changed']:.1%} of the documents changed their codes, balance "
        f"{figures['balance']:.3f}, dev {figures['start_dev']:.4f} at its start, {figures['best_dev']:.4f} at best"
    )
