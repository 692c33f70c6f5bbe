"""What `genir rag eval` was asked for, checked before anything is loaded or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from experiments.rag_evaluation.mitigation_steps import parse_mitigations
from experiments.registry import RETRIEVERS
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError, unknown_name
from rag.abstention import Loss
from rag.measures.estimates import RESAMPLES

ENDS = ("none", "random", "oracle")  # closed-book, and the two ends of the scale: nothing that searches
ARMS = (*(name for name in RETRIEVERS if name != "none"), "joint", *ENDS)
CONDITIONS = ("poisoned", "removed", "distractors", "push-back", "popularity", "unanswerable", "wording")
LOSSES = get_args(Loss)
ENTITIES = ("seen", "unseen")


@dataclass(frozen=True)
class GroundingConfig:
    """Everything that decides the figures, beside the files that are read.

    `limit`: questions at most, from all over the split (0: all). `against`: the retriever that the others are compared with; by default
    bm25 where it is among them, else the first. `loss`: what counts as wrong for calibration, thresholds and risk-coverage. `coverage`:
    the share of dev questions that the tuned threshold keeps answered at least. `entities`: of atlas' questions those about entities
    that its reader's training has, or has not. `name`: what the summary calls the data set; by default its folder's name. `resamples`:
    of the bootstrap of figures that are no means (AURC, ECE). Raises ConfigError for unknown names and impossible values.
    """

    retrievers: tuple[str, ...] = ("none", "random", "bm25", "oracle")
    generators: tuple[str, ...] = ("extractive",)
    mitigations: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    split: str = "test"
    limit: int = 0
    k: int = 3
    checker: str = "lexical"
    seed: int = 0
    against: str = ""
    loss: str = "hallucination"
    coverage: float = 0.9
    entities: str = ""
    name: str = ""
    resamples: int = RESAMPLES
    encoder: str = DEFAULT_ENCODER

    def __post_init__(self) -> None:
        for option, kind, given, known in (
            ("--retrievers", "retriever", self.retrievers, ARMS),
            ("--generator", "", self.generators, ()),
            ("--conditions", "condition", self.conditions, CONDITIONS),
        ):
            _check_names(option, kind, given, known)
        parse_mitigations(",".join(self.mitigations))
        for kind, value, known in (("loss", self.loss, LOSSES), ("entities", self.entities or "seen", ENTITIES)):
            if value not in known:
                raise unknown_name(kind, value, known)
        if not self.retrievers or not self.generators:
            raise ConfigError("an evaluation needs at least one retriever (none will do) and one generator")
        if self.against and self.against not in self.retrievers:
            raise ConfigError(f"--against {self.against}: is not among --retrievers {','.join(self.retrievers)}")
        if self.limit < 0 or self.k < 1 or self.resamples < 1 or not 0 < self.coverage <= 1:
            raise ConfigError(
                f"limit {self.limit}, k {self.k}, resamples {self.resamples}, coverage {self.coverage}: expected a limit of 0 (all) or "
                "more, at least one passage and one resample, and a coverage above 0, at most 1"
            )
        if "distractors" in self.conditions and self.k < 2:
            raise ConfigError(
                "condition distractors: with -k 1 there is no passage beside the right one; give at least 2"
            )

    @property
    def reference(self) -> str:
        """The retriever that others are compared with."""
        return self.against or ("bm25" if "bm25" in self.retrievers else self.retrievers[0])


def split_names(text: str) -> tuple[str, ...]:
    """Names separated by commas; none of an empty text."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def split_steps(text: str) -> tuple[str, ...]:
    """The same, where "none" alone stands for no name at all."""
    return () if text == "none" else split_names(text)


def _check_names(option: str, kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if known and name not in known:
            raise unknown_name(kind, name, known)
        if given.count(name) > 1:
            raise ConfigError(f"{option} {','.join(given)}: {name!r} is given more than once")
