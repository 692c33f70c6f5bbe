"""Experiment `labels`: how many training questions it takes. Every system of `quality` but `hybrid_terms` and the control, with 1 %,
10 % and all of them.

Shares are of the questions that `quality` learns from (`max_questions`), drawn once, the fewer among the more
(`experiments.quality.training_questions`). What is tuned on dev sees the whole dev split throughout, BM25
the share's questions beside it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.quality.config import QualityConfig, shipped
from experiments.quality.experiment import Figures, named, score
from experiments.quality.stage import QualityStage
from genir.config import load_toml
from genir.errors import ConfigError, DataError
from genir.formats import dataset_sha256
from genir.manifest import provenance, write_json

SHARES = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class LabelsConfig:
    """`quality` as for that experiment, and the shares of the training questions."""

    quality: QualityConfig
    shares: tuple[float, ...] = SHARES

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ConfigError(f"shares is {self.shares}: expected numbers above 0 and up to 1")
        if len({f"{share:g}" for share in self.shares}) < len(self.shares):
            raise ConfigError(f"shares is {self.shares}: expected each once")

    @classmethod
    def read(cls, path: Path | None) -> "LabelsConfig":
        """A TOML file as for `quality`, with `shares` beside; `labels.toml` without one."""
        path = path or shipped("labels")
        plain = load_toml(path)
        shares = plain.pop("shares", list(SHARES))
        if not isinstance(shares, list) or not all(isinstance(share, int | float) for share in shares):
            raise ConfigError(f"{path}: shares is {shares!r}: expected a list of numbers, e.g. [0.01, 0.1, 1.0]")
        return cls(QualityConfig.of(plain, str(path)), tuple(float(share) for share in shares))


def run(data: Path, out: Path, config: LabelsConfig, work: Path) -> dict[str, Figures]:
    """Make or reuse every share under `work` and write OUT/labels-<data set>.json; returns "<data set>, share 0.1" -> figures."""
    figures: dict[str, Figures] = {}
    learnt_from: dict[str, Any] = {}
    name = data.resolve().name
    for share in config.shares:
        stage = QualityStage.of(data, work, config.quality, share)
        if not stage.questions:
            raise DataError(f"{name}: has no training questions to take a share of; add qrels/train.tsv")
        stage.baselines()
        for seed in config.quality.seeds:
            stage.generative(seed)
            stage.views(seed)
        learnt_from[f"{share:g}"] = stage.questions
        for split in stage.splits:
            figures[f"{named(name, split)}, share {share:g}"] = score(stage.runs(split), stage.dataset, split)[0]
    write_json(out / f"labels-{name}.json", figures)
    stamp = provenance("experiment labels", asdict(config), {"dataset": dataset_sha256(data)}, config.quality.seeds[0])
    write_json(out / f"labels-{name}.manifest.json", stamp | {"questions": learnt_from})
    return figures
