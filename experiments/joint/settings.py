"""Settings of the stage `genir train-joint`, and their defaults: a small LLaMA from nothing, in minutes on a CPU."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.training.examples import ExamplesConfig
from experiments.training.material import ConsistencyConfig, GeneratorConfig
from genir.config import from_mapping, load_toml
from genir.errors import ConfigError
from genir.models.causal_config import CausalConfig, LlamaShape
from genir.training import TrainingConfig
from rag.joint.config import JointSettings, LessonSettings, LossWeights


@dataclass(frozen=True)
class JointTraining(TrainingConfig):
    """`genir.training.TrainingConfig` with defaults for a small LLaMA from nothing, in minutes on a CPU."""

    epochs: int = 3
    batch_size: int = 16
    fresh_learning_rate: float = 1.5e-3
    evaluate_every: int = 500


@dataclass(frozen=True)
class JointConfig:
    """Everything that `genir train-joint --config FILE` may set. Unknown keys are refused.

    An empty [causal] source makes a LLaMA from nothing; `copying_start` gives it induction heads. A network by name gets adapters with
    [causal] lora_rank.
    """

    causal: CausalConfig = field(
        default_factory=lambda: CausalConfig(
            llama=LlamaShape(hidden_size=128, intermediate_size=352, num_attention_heads=2, num_key_value_heads=2),
            max_text_tokens=48,
        )
    )
    copying_start: bool = True
    sequence: JointSettings = field(default_factory=JointSettings)
    loss: LossWeights = field(default_factory=LossWeights)
    lessons: LessonSettings = field(default_factory=LessonSettings)
    examples: ExamplesConfig = field(default_factory=lambda: ExamplesConfig(passage_weight=0.0))  # identifiers alone
    training: JointTraining = field(default_factory=JointTraining)
    max_questions: int = 0  # learn from so many training questions, drawn at random; 0 for all
    dev_queries: int = 200  # at most so many are answered at each evaluation
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.dev_queries < 1 or self.max_questions < 0:
            raise ConfigError(
                f"dev_queries is {self.dev_queries} and max_questions {self.max_questions}: expected 1 or more, and 0 or more"
            )
        if (self.examples.generator, self.examples.consistency) != (GeneratorConfig(), ConsistencyConfig()):
            raise ConfigError(
                "a joint model learns no queries that another model wrote: leave [examples.generator] and its filter out"
            )

    @classmethod
    def read(cls, path: Path | None, max_minutes: float | None = None) -> "JointConfig":
        """The configuration in a TOML file, or the defaults, with another limit of time where one is given."""
        made = cls() if path is None else from_mapping(cls, load_toml(path), str(path))
        return made if max_minutes is None else replace(made, training=replace(made.training, max_minutes=max_minutes))
