"""What the experiments about quality may be told: one configuration for baselines and models, and what it takes care of itself.

Invariant: a key that is given has an effect. What the experiment sets for all alike (seeds, the encoders that training starts from, how
many questions are learnt from) is refused where it is given for one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from docids.views import NAME as VIEWS
from experiments.registry import make_scheme, parse_settings
from experiments.training.model_config import ModelConfig
from experiments.training.terms import TermConfig
from genir.config import from_mapping, load_toml
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError
from genir.measures import parse_measure
from retrievers.dense_training import DenseConfig

T = TypeVar("T")
FINE_TUNED = "dense_finetuned"  # as the model of a teacher: the encoder that was fine-tuned with the same seed
_SET_HERE = {
    "dense.encoder": "set encoder, which baselines and models start from",
    "dense.max_pairs": "set max_questions, which cuts what every system learns from",
    "terms.max_examples": "set max_questions, which cuts what every system learns from",
    "sequence.code_decoder.encoder": "the model starts from the fine-tuned encoder; set encoder for what that one starts from",
}


def shipped(name: str) -> Path:
    """A configuration that comes with the package: "quality", "labels" or "ablation"."""
    return Path(__file__).parent.parent / "configs" / f"{name}.toml"


@dataclass(frozen=True)
class SchemeChoice:
    """The scheme `identifiers` and its KEY=VALUE settings."""

    identifiers: str
    scheme: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        settings = parse_settings(self.scheme)
        if "seed" in settings:
            raise ConfigError("scheme sets a seed: leave it out, seeds are taken from `seeds`")
        if not hasattr(make_scheme(self.identifiers, settings, DEFAULT_ENCODER, None), "seed"):
            raise ConfigError(
                f"identifiers is {self.identifiers!r}, which no seed changes: expected residual, or another that has one"
            )

    @property
    def are_views(self) -> bool:
        """Whether a document has several."""
        return self.identifiers == VIEWS

    @property
    def are_summed(self) -> bool:
        """Whether they are views whose scores are summed, as they are unless the scheme is told otherwise."""
        return self.are_views and parse_settings(self.scheme).get("combine") != "max"


@dataclass(frozen=True)
class QualityConfig:
    """Everything that `genir experiment run quality --config FILE` may set. Unknown keys are refused.

    `max_questions` training questions at most are learnt from, by every system the same ones (0: all). `scheme` are KEY=VALUE settings
    of the scheme `identifiers`; of these and their `alternatives` the one is taken whose codes alone, learnt, have the best RR@10 on
    `sequence.dev_queries` dev questions, whatever `measure` is. Views that are summed have no terms, hence no system `generative`, and
    leave `terms` unread. Without `planning` the terms are added to what codes alone find. `rerank_head` adds a head that reranks the
    beam.
    """

    measure: str = "RR@10"  # what baselines are tuned for on dev
    encoder: str = DEFAULT_ENCODER
    max_questions: int = 0
    identifiers: str = "residual"
    scheme: tuple[str, ...] = ()
    alternatives: tuple[SchemeChoice, ...] = ()
    seeds: tuple[int, ...] = (0,)
    control: bool = True
    planning: bool = True
    rerank_head: bool = False
    dense: DenseConfig = field(default_factory=DenseConfig)
    sequence: ModelConfig = field(default_factory=ModelConfig)
    terms: TermConfig = field(default_factory=TermConfig)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds is {self.seeds}: expected one seed or more, each once")
        if self.max_questions < 0:
            raise ConfigError(f"max_questions is {self.max_questions}: expected 1 or more, or 0 for all")
        if self.sequence.architecture != "code_decoder":
            raise ConfigError(
                f"[sequence] architecture is {self.sequence.architecture!r}: expected code_decoder, which starts from an encoder"
            )
        if any(one.are_views for one in self.choices) and (self.rerank_head or not self.planning):
            raise ConfigError(
                "rerank_head and planning = false are for one identifier a document, not for views: leave them out"
            )
        parse_measure(self.measure)
        if not self.alternatives:
            return
        told = [(one.identifiers, parse_settings(one.scheme)) for one in self.choices]
        if any(one in told[:number] for number, one in enumerate(told)):
            raise ConfigError("alternatives: two of the identifiers to choose from are the same; leave one out")
        if sum(one.are_views for one in self.choices) > 1:
            raise ConfigError("alternatives: two of the identifiers to choose from are views; leave one out")
        if any(one.are_summed for one in self.choices):
            raise ConfigError("alternatives: views that are summed have no terms, as others have; set combine=max")

    @cached_property
    def choices(self) -> tuple[SchemeChoice, ...]:
        """The identifiers to choose from on dev, the first where they are level."""
        return (SchemeChoice(self.identifiers, self.scheme), *self.alternatives)

    @property
    def views(self) -> SchemeChoice | None:
        """The choice that gives a document several, if one does."""
        return next((one for one in self.choices if one.are_views), None)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> "QualityConfig":
        """From plain values. Raises ConfigError for keys that are unknown, or not to be set for one system alone."""
        _refuse_what_is_set_here(values, where)
        return from_mapping(cls, values, where)

    @classmethod
    def read(cls, path: Path | None) -> "QualityConfig":
        """The configuration in a TOML file, that of `quality.toml` without one."""
        path = path or shipped("quality")
        return cls.of(load_toml(path), str(path))


def seeded(settings: T, seed: int) -> T:
    """A dataclass with every field `seed` set, in the dataclasses within it, too."""
    changed: dict[str, Any] = {}
    for one in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, one.name)
        if one.name == "seed":
            changed[one.name] = seed
        elif is_dataclass(value) and not isinstance(value, type):
            changed[one.name] = seeded(value, seed)
    return replace(settings, **changed)  # type: ignore[type-var]


def _refuse_what_is_set_here(values: Mapping[str, Any], where: str, above: str = "") -> None:
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            _refuse_what_is_set_here(value, where, f"{name}.")
        elif key == "seed":
            raise ConfigError(f"{where}: {name} cannot be set alone: leave it out, every seed is taken from `seeds`")
        elif name in _SET_HERE:
            raise ConfigError(f"{where}: {name} cannot be set alone: leave it out, and {_SET_HERE[name]}")
