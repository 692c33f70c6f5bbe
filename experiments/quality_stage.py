"""What the experiments about quality are made of: baselines at their best, and our models seed by seed, on one data set.

    bm25                      fields, k1 and b tuned on dev            bm25_default   title and text, .9, .4
    dense                     the encoder as it comes                  dense_finetuned   on the training queries
    hybrid                    bm25 and dense_finetuned, tuned on dev   hybrid_zero_shot  bm25 and dense
    generative                codes and terms of one model, searched with planning ahead
    generative_sequence_only  its codes alone
    generative_terms_only     its terms alone, over all documents
    generative_random_ids     the control: the same training over identifiers that say nothing

Everything that is tuned or stopped early is so on dev. Every folder and run is reused where it is current.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

from experiments.data_stage import build_docids
from experiments.dense_learning import train_dense
from experiments.learning import train_model
from experiments.model_config import ModelConfig
from experiments.model_folder import history_of
from experiments.retrieval import Built, build_retriever, is_searched, search_split
from experiments.term_learning import TermConfig, train_terms
from experiments.tuned_baselines import Baselines, build_baselines
from genir.config import from_mapping, load_toml
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError
from genir.formats import load_dataset
from genir.manifest import MANIFEST, sha256_of
from genir.records import Dataset
from retrievers.dense_training import DenseConfig
from retrievers.planning import PlanningRetriever, TermsRetriever

DEPTH = 50
_NAMES = {
    "bm25_default": "bm25_default",
    "bm25": "bm25",
    "dense": "dense",
    "dense_finetuned": "dense_finetuned",
    "hybrid_dense": "hybrid_zero_shot",
    "hybrid_dense_finetuned": "hybrid",
}


@dataclass(frozen=True)
class QualityConfig:
    """Everything that `genir experiment run quality --config FILE` may set. Unknown keys are refused."""

    measure: str = "RR@10"  # what baselines are tuned for on dev
    encoder: str = DEFAULT_ENCODER
    scheme: tuple[str, ...] = ()  # KEY=VALUE settings of residual identifiers
    seeds: tuple[int, ...] = (0,)
    control: bool = True
    dense: DenseConfig = field(default_factory=DenseConfig)
    sequence: ModelConfig = field(default_factory=ModelConfig)
    terms: TermConfig = field(default_factory=TermConfig)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds is {self.seeds}: expected one seed or more, each once")

    @classmethod
    def read(cls, path: Path | None) -> "QualityConfig":
        """The configuration in a TOML file, or the defaults."""
        return cls() if path is None else from_mapping(cls, load_toml(path), str(path))


@dataclass
class QualityStage:
    """One data set, and its folders under `work`."""

    dataset: Dataset
    data: Path
    work: Path
    splits: Sequence[str]
    _paths: dict[str, dict[str, list[Path]]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Path, work: Path) -> "QualityStage":
        """Raises ConfigError for a data set without a split to compare on."""
        dataset = load_dataset(data)
        splits = [split for split in dataset.qrels if split not in ("train", "dev")]
        if not splits:
            raise ConfigError(f"{data}: has no split to compare on beside train and dev; add qrels/test.tsv")
        return cls(dataset, data, work, splits)

    def runs(self, split: str) -> dict[str, list[Path]]:
        """System -> its run files, one a seed."""
        return self._paths[split]

    def baselines(self, config: QualityConfig) -> dict[str, Any]:
        """Everything that is not generative."""
        dense = self.work / "dense"
        trained = self.fine_tuned(config)
        encoders = {"dense": config.encoder, "dense_finetuned": str(dense)}
        made: Baselines = build_baselines(self.dataset, self.data, encoders, config.measure, self.work / "cache")
        for name, shown in _NAMES.items():
            self._search(shown, made.built[name], {"dense": sha256_of(dense / MANIFEST)})
        return {
            "bm25": {"settings": asdict(made.bm25.settings), "dev": made.bm25.value},
            "hybrid": {"tuned": asdict(made.hybrids["hybrid_dense_finetuned"])},
            "dense_finetuned": {"training": trained["facts"], "history": history_of(dense)},
        }

    def fine_tuned(self, config: QualityConfig) -> dict[str, Any]:
        """The manifest of the encoder that learnt from the training queries; our models start from it, too."""
        settings = replace(config.dense, encoder=config.encoder)
        return train_dense(self.data, settings, self.work / "dense", True, self.work / "cache")

    def generative(self, config: QualityConfig, seed: int) -> dict[str, Any]:
        """One seed's identifiers, models and runs."""
        encoder = str(self.work / "dense")
        model, facts = self._learnt("residual", self._sequence(config, seed), config.scheme, encoder, seed)
        self._search("generative_sequence_only", self._built(model), _made_of(model), seed)
        terms = replace(config.terms, training=replace(config.terms.training, seed=seed))
        planned = self.work / "models" / f"{model.name}-terms-{_digest(terms)}"
        added = train_terms(self.data, model, terms, planned, resume=True)["facts"]
        whole = self._built(planned)
        self._search("generative", whole, _made_of(planned), seed)
        assert isinstance(whole.retriever, PlanningRetriever)
        alone = replace(whole, retriever=TermsRetriever(whole.retriever))
        self._search("generative_terms_only", alone, _made_of(planned), seed)
        about = {f"generative, seed {seed}": {"training": added, "history": history_of(planned / "terms")}}
        about[f"generative_sequence_only, seed {seed}"] = facts
        return about

    def control(self, config: QualityConfig, seed: int) -> dict[str, Any]:
        """The same training over random identifiers of the same shape."""
        encoder = str(self.work / "dense")
        levels = [setting for setting in config.scheme if setting.startswith(("levels=", "codes="))]
        model, facts = self._learnt("random", self._sequence(config, seed), levels, encoder, seed)
        self._search("generative_random_ids", self._built(model), _made_of(model), seed)
        return {"generative_random_ids": facts}

    def _sequence(self, config: QualityConfig, seed: int) -> ModelConfig:
        """The model's configuration with its seed, started from the fine-tuned encoder."""
        encoder = str(self.work / "dense")
        sequence = replace(config.sequence, training=replace(config.sequence.training, seed=seed))
        return replace(sequence, code_decoder=replace(sequence.code_decoder, encoder=encoder))

    def _learnt(
        self, scheme: str, config: ModelConfig, settings: Sequence[str], encoder: str, seed: int
    ) -> tuple[Path, dict[str, Any]]:
        """Identifiers and a model for them: its folder, and what there is to say about both."""
        chosen = (*settings, f"seed={seed}")
        docids = self.work / "docids" / f"{scheme}-{_digest(chosen)}"
        model = self.work / "models" / f"{docids.name}-{_digest(config)}"
        diagnosis = build_docids(self.data, docids, scheme, chosen, encoder, self.work / "cache")["facts"]
        facts = train_model(self.data, docids, config, model, resume=True, cache=self.work / "cache")["facts"]
        return model, {"training": facts, "history": history_of(model), "identifiers": diagnosis}

    def _built(self, model: Path) -> Built:
        return build_retriever("generative", self.dataset, self.data, model)

    def _search(self, name: str, built: Built, made_of: Mapping[str, str], seed: int = 0) -> None:
        for split in self.splits:
            path = self.work / "runs" / split / f"{name}-{_digest([made_of, seed])}.trec"
            self._paths.setdefault(split, {}).setdefault(name, []).append(path)
            if not is_searched(path, made_of):
                search_split(built, self.dataset, split, DEPTH, path, made_of)


def _digest(plain: object) -> str:
    """Names the folder of what was made by a configuration, so that what several rows share is made once."""
    whole = asdict(plain) if is_dataclass(plain) and not isinstance(plain, type) else plain
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _made_of(model: Path) -> dict[str, str]:
    return {"model": sha256_of(model / MANIFEST)}
