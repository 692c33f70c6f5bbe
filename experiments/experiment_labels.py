"""Experiment `labels`: how many training questions it takes. Every system of `quality`, with 1 %, 10 % and all of them.

Questions are drawn once, the fewer among the more. What is tuned on dev sees the whole dev split throughout.
"""

import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.experiment_quality import score
from experiments.quality_stage import QualityConfig, QualityStage
from genir.config import from_mapping, load_toml
from genir.errors import ConfigError, DataError
from genir.formats import dataset_sha256, load_dataset, write_dataset
from genir.manifest import provenance, write_json
from genir.records import Dataset, Qrels


@dataclass(frozen=True)
class LabelsConfig:
    """`quality` as for that experiment, and the shares of the training questions."""

    quality: QualityConfig
    shares: tuple[float, ...] = (0.01, 0.1, 1.0)

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ConfigError(f"shares is {self.shares}: expected numbers above 0 and up to 1")

    @classmethod
    def read(cls, path: Path | None) -> "LabelsConfig":
        """A TOML file as for `quality`, with `shares` beside; the defaults without one."""
        plain = {} if path is None else load_toml(path)
        shares = plain.pop("shares", list(cls.shares))
        if not isinstance(shares, list) or not all(isinstance(share, int | float) for share in shares):
            raise ConfigError(f"shares is {shares!r}: expected a list of numbers, e.g. [0.01, 0.1, 1.0]")
        return cls(from_mapping(QualityConfig, plain, str(path)), tuple(float(share) for share in shares))


def run(data: Path, out: Path, config: LabelsConfig, work: Path) -> dict[str, Any]:
    """Make or reuse every share under `work` and write OUT/labels-<data set>.json; returns "<data set>, 10 %" -> figures."""
    dataset = load_dataset(data)
    if not dataset.qrels.get("train"):
        raise DataError(f"{dataset.name}: has no training questions to take a share of; add qrels/train.tsv")
    figures: dict[str, Any] = {}
    for share in config.shares:
        folder, place = data, work
        if share < 1:
            place = work / f"share-{share:g}"
            folder = place / "data" / dataset.name
            if not folder.is_dir():
                write_dataset(take_share(dataset, share, config.quality.seeds[0]), folder)
        stage = QualityStage.of(folder, place)
        stage.baselines(config.quality)
        for seed in config.quality.seeds:
            stage.generative(config.quality, seed)
        for split in stage.splits:
            part = "" if split == "test" else f" ({split})"
            figures[f"{dataset.name}{part}, {share:.0%}"] = score(stage.runs(split), stage.dataset, split)[0]
    write_json(out / f"labels-{dataset.name}.json", figures)
    inputs = {"dataset": dataset_sha256(data)}
    stamp = provenance("experiment labels", asdict(config), inputs, config.quality.seeds[0])
    write_json(out / f"labels-{dataset.name}.manifest.json", stamp)
    return figures


def take_share(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The data set with a share of its training questions, at least one; a smaller share lies within a larger one."""
    train = dataset.qrels["train"].judgements
    order = sorted(train)
    random.Random(seed).shuffle(order)
    kept = set(order[: max(1, round(share * len(order)))])
    judged = Qrels({query_id: gains for query_id, gains in train.items() if query_id in kept})
    left_out = (
        set(train) - kept - {query_id for name, one in dataset.qrels.items() if name != "train" for query_id in one}
    )
    queries = {query_id: query for query_id, query in dataset.queries.items() if query_id not in left_out}
    return replace(dataset, queries=queries, qrels={**dataset.qrels, "train": judged})
