"""What `genir rag eval` was asked for, checked before anything is loaded or written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from experiments.rag_evaluation.mitigation_steps import SIGNALS, parse_mitigations
from experiments.registry import RETRIEVERS
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError, unknown_name
from rag.abstention import Loss, Target
from rag.measures.estimates import RESAMPLES
from rag.mitigations.signals import SAMPLES, TEMPERATURE

ENDS = ("none", "random", "oracle")  # closed-book, and the two ends of the scale: nothing that searches
ARMS = (*(name for name in RETRIEVERS if name != "none"), "joint", *ENDS)
CONDITIONS = ("poisoned", "removed", "distractors", "push-back", "popularity", "unanswerable", "wording", "gate")
LOSSES = get_args(Loss)
TARGETS = get_args(Target)
ENTITIES = ("seen", "unseen")
_SETTING = re.compile(r"\w+\s*=")  # how KEY=VALUE begins


@dataclass(frozen=True)
class GroundingConfig:
    """Everything that decides the figures, beside the files that are read.

    `limit`: questions at most, from all over the split (0: all). `against`: the retriever that the others are compared with; by default
    bm25 where it is among them, else the first. `checker`: what judges claims; empty, the default for the questions' language. `loss`: what
    counts as wrong for calibration, thresholds and risk-coverage. `coverage`: the share of dev questions that the tuned threshold keeps
    answered at least. `target`: whether the mitigation abstain is tuned for that, or for a guaranteed `risk` (`rag.abstention`), and
    `signal` by what it and Verify-and-Edit decide. `samples`: replies drawn from each generator to each question at `temperature`, for
    measures of consistency (0: none; the signal consistency then draws its usual number). `search_price`: what a search costs the gate, in
    F1 a question. `entities`: of atlas' questions those about entities that its reader's training has, or has not. `name`: what the summary
    calls the data set; by default its folder's name. `resamples`: of the bootstrap of figures that are no means (AURC, ECE). Raises
    ConfigError for unknown names and impossible values.
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
    target: str = "coverage"
    risk: float = 0.1
    signal: str = "confidence"
    samples: int = 0
    temperature: float = TEMPERATURE
    search_price: float = 0.0
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
        for kind, value, known in (
            ("loss", self.loss, LOSSES),
            ("target", self.target, TARGETS),
            ("signal", self.signal, SIGNALS),
            ("entities", self.entities or "seen", ENTITIES),
        ):
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
        if self.samples < 0 or self.temperature <= 0 or not 0 < self.risk <= 1 or self.search_price < 0:
            raise ConfigError(
                f"samples {self.samples}, temperature {self.temperature}, risk {self.risk}, search price {self.search_price}: expected no "
                "negative number, a temperature above 0, and a risk above 0, at most 1"
            )
        if "distractors" in self.conditions and self.k < 2:
            raise ConfigError(
                "condition distractors: with -k 1 there is no passage beside the right one; give at least 2"
            )

    @property
    def wanted(self) -> float:
        """What abstention is tuned for: the share of its target."""
        return self.coverage if self.target == "coverage" else self.risk

    @property
    def drawn(self) -> int:
        """Samples a question of the signal consistency."""
        return self.samples or SAMPLES

    @property
    def reference(self) -> str:
        """The retriever that others are compared with."""
        return self.against or ("bm25" if "bm25" in self.retrievers else self.retrievers[0])


def split_names(text: str) -> tuple[str, ...]:
    """Names separated by commas; none of an empty text."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def split_generators(text: str) -> tuple[str, ...]:
    """The same, where parts KEY=VALUE are settings of the name before them: "a,llama:NAME,stages=2,b" are three."""
    names: list[str] = []
    for part in split_names(text):
        if names and _SETTING.match(part):
            names[-1] += f",{part}"
        else:
            names.append(part)
    return tuple(names)


def split_steps(text: str) -> tuple[str, ...]:
    """The same, where "none" alone stands for no name at all."""
    return () if text == "none" else split_names(text)


def _check_names(option: str, kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if known and name not in known:
            raise unknown_name(kind, name, known)
        if given.count(name) > 1:
            raise ConfigError(f"{option} {','.join(given)}: {name!r} is given more than once")
