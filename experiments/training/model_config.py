"""What `genir train` may be told, and what that makes for a table of identifiers: the untrained model, and its objective."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from docids.ngram import NAME as NGRAM
from docids.table import DocIDTable
from experiments.training.examples import ExamplesConfig
from experiments.training.learned_identifiers import LearnedConfig
from experiments.training.ngram_examples import NgramConfig
from experiments.training.teaching import TeacherConfig
from genir.best_view import BestViewObjective
from genir.config import from_mapping, load_toml
from genir.devices import pick_device
from genir.distillation import TaughtRankingObjective, TeacherTable, Teaching
from genir.errors import ConfigError
from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel
from genir.objectives import CrossEntropyObjective, Objective, RankingObjective
from genir.right_targets import RightTargets
from genir.training import Example, TrainingConfig
from retrievers.generative import GenerativeSettings


@dataclass(frozen=True)
class ObjectiveConfig:
    """`ranking` for code_decoder (see genir.objectives), `cross_entropy` for any model.

    `self_distillation` is the weight of coming near to the model's own moving average, whose decay is `self_decay`.
    """

    kind: Literal["ranking", "cross_entropy"] = "ranking"
    prefixes: tuple[int, ...] = (1, 2, 4)
    hard_negatives: int = 15
    scale: float = 20.0
    self_distillation: float = 0.0
    self_decay: float = 0.99

    def __post_init__(self) -> None:
        if min(self.prefixes, default=1) < 1 or self.hard_negatives < 0 or self.scale <= 0:
            raise ConfigError(f"impossible objective: {self}; expected prefixes >= 1, hard_negatives >= 0, scale > 0")
        if self.self_distillation < 0 or not 0 <= self.self_decay < 1:
            raise ConfigError(f"impossible objective: {self}; expected self_distillation >= 0, self_decay in 0..1")
        if self.kind == "cross_entropy" and (self.prefixes, self.hard_negatives) != ((1, 2, 4), 15):
            raise ConfigError(
                "[objective] prefixes and hard_negatives are for kind 'ranking'; leave them out for 'cross_entropy'"
            )


@dataclass(frozen=True)
class ModelConfig:
    """Everything that `genir train --config FILE` may set. Unknown keys are refused."""

    architecture: Literal["code_decoder", "seq2seq", "causal"] = "code_decoder"
    code_decoder: CodeDecoderConfig = field(default_factory=CodeDecoderConfig)
    seq2seq: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    causal: CausalConfig = field(default_factory=CausalConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    learned: LearnedConfig = field(default_factory=LearnedConfig)
    search: GenerativeSettings = field(default_factory=lambda: GenerativeSettings(num_beams=100))
    ngram: NgramConfig = field(default_factory=NgramConfig)  # for identifiers of scheme ngram, their search included
    dev_queries: int = 500  # at most so many are searched at each evaluation
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.dev_queries < 1:
            raise ConfigError(f"dev_queries is {self.dev_queries}: expected 1 or more")
        for name, source in (("seq2seq", self.seq2seq.source), ("causal", self.causal.source)):
            if source and name != self.architecture:
                raise ConfigError(
                    f'[{name}] source is {source!r}, but architecture is {self.architecture!r}: set architecture = "{name}", or '
                    "leave the source out"
                )
        if self.objective.kind != "ranking" and (self.teacher.source != "none" or self.objective.self_distillation):
            raise ConfigError(
                f"a teacher and self_distillation are for objective 'ranking', got {self.objective.kind!r}: "
                'set [teacher] source = "none" and [objective] self_distillation = 0'
            )
        if self.learned.rounds and self.architecture != "code_decoder":
            raise ConfigError(
                f"[learned] rounds = {self.learned.rounds}: identifiers are learned by code_decoder only, got {self.architecture!r}"
            )

    @classmethod
    def read(cls, path: Path | None) -> "ModelConfig":
        """The configuration in a TOML file, or the defaults."""
        return cls() if path is None else from_mapping(cls, load_toml(path), str(path))

    @property
    def pretrained(self) -> str:
        """The encoder, network or tokenizer that the model starts from."""
        if self.architecture == "code_decoder":
            return self.code_decoder.encoder
        network = self.seq2seq if self.architecture == "seq2seq" else self.causal
        return network.source or network.tokenizer


def build_model(config: ModelConfig, table: DocIDTable) -> Any:
    """An untrained model for a table's identifiers, started from its codebooks where it has any."""
    if table.scheme == NGRAM and config.architecture == "code_decoder":
        raise ConfigError(
            'n-gram identifiers are pieces of text, which code_decoder does not write: set architecture = "seq2seq" or "causal", '
            'with [objective] kind = "cross_entropy"'
        )
    device = pick_device(config.device)
    identifiers = table.identifiers()
    lengths = {len(tokens) for tokens in identifiers}
    # Identifiers of one length end by themselves; of several lengths, one may be a prefix of another.
    end_token = None if len(lengths) == 1 else table.vocab_size
    vocab_size = table.vocab_size + (end_token is not None)
    if config.architecture != "code_decoder":
        if config.objective.kind == "ranking":
            raise ConfigError(
                f"objective 'ranking' is for code_decoder; give {config.architecture} [objective] kind = \"cross_entropy\""
            )
        own = table.tokenizer is None
        if not own and table.tokenizer != config.pretrained:
            raise ConfigError(
                f"the identifiers are written in tokens of {table.tokenizer!r}, but the model reads and writes those of "
                f"{config.pretrained!r}: build them with `--set tokenizer={config.pretrained}`"
            )
        vocabulary = (vocab_size, end_token) if own else (None, None)
        if config.architecture == "seq2seq":
            model: Any = Seq2SeqModel.build(config.seq2seq, *vocabulary)
        else:
            model = CausalModel.build(config.causal, *vocabulary)
        if table.scheme == NGRAM:
            model.end_token = None  # an n-gram ends anywhere: nothing is written behind it
    else:
        longest = max(lengths) + (end_token is not None)
        model = CodeDecoder(config.code_decoder, vocab_size, longest, end_token)
        if table.codebooks is not None:
            model.start_from_codebooks(table.codebooks)
    model.precision = config.training.precision
    return model.to(device)


def make_objective(
    config: ModelConfig,
    model: Any,
    identifiers: Sequence[tuple[int, ...]],
    examples: Sequence[Example],
    teacher: TeacherTable | None = None,
    views: Sequence[Sequence[int]] | None = None,
) -> Objective:
    """The objective that a configuration names, for these examples: what is right for a text is no negative of it.

    With `views`, the identifiers of each document, the examples' targets number documents, and a text learns the best of them.
    """
    settings, taught = config.objective, config.teacher
    if settings.kind == "cross_entropy":
        return CrossEntropyObjective(
            model, identifiers, settings.scale if config.architecture == "code_decoder" else 1.0
        )
    right = RightTargets.of(examples)
    ranking = (model, identifiers, settings.prefixes, settings.hard_negatives, settings.scale)
    if views is not None:
        return BestViewObjective(*ranking, views, right)
    if teacher is None and not settings.self_distillation:
        return RankingObjective(*ranking, right)
    teaching = Teaching(
        teacher,
        taught.negatives,
        taught.distance,
        taught.weight,
        taught.sharpness,
        settings.self_distillation,
        settings.self_decay,
    )
    return TaughtRankingObjective(*ranking, teaching, right)
