"""Experiment `ablation`: one switch at a time, from the same start, beside the whole.

The configuration is that of `quality`, with a table of rows; each names what it changes:

    [rows."no phrases".terms.sets]
    phrase_weight = 0.0

Every row gives two systems, the model with its terms and its codes alone; `whole` is the configuration as it stands. What rows share
is made once. p-values are of paired randomisation tests against `whole`, Holm-corrected.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.experiment_quality import score
from experiments.quality_stage import QualityConfig, QualityStage
from genir.config import from_mapping, load_toml
from genir.errors import ConfigError
from genir.formats import dataset_sha256
from genir.manifest import provenance, write_json

WHOLE = "whole"
SYSTEMS = ("generative", "generative_sequence_only")


@dataclass(frozen=True)
class AblationConfig:
    """The rows' configurations by name, `whole` first."""

    rows: Mapping[str, QualityConfig]
    plain: Mapping[str, Any]  # as it was read

    @classmethod
    def read(cls, path: Path | None) -> "AblationConfig":
        """A TOML file. Raises ConfigError where there is none, or it names no row."""
        if path is None:
            raise ConfigError(
                "an ablation needs --config FILE with a table of rows, e.g. experiments/configs/ablation.toml"
            )
        plain = load_toml(path)
        changes = plain.pop("rows", None)
        if not isinstance(changes, dict) or not changes or not all(isinstance(one, dict) for one in changes.values()):
            raise ConfigError(f'{path}: no rows; expected tables like [rows."no phrases".terms.sets]')
        if WHOLE in changes:
            raise ConfigError(f"{path}: a row is called {WHOLE!r}, which is the configuration as it stands; rename it")
        rows = {WHOLE: from_mapping(QualityConfig, plain, str(path))}
        for name, change in changes.items():
            rows[name] = from_mapping(QualityConfig, _merged(plain, change), f"{path}, row {name!r}")
        return cls(rows, plain | {"rows": changes})


def run(data: Path, out: Path, config: AblationConfig, work: Path) -> dict[str, Any]:
    """Make or reuse every row under `work` and write OUT/ablation-<data set>.json; returns data set -> row -> figures."""
    paths: dict[str, dict[str, list[Path]]] = {}
    about: dict[str, Any] = {}
    stage = QualityStage.of(data, work)
    whole = config.rows[WHOLE]
    stage.fine_tuned(whole)
    for name, row in config.rows.items():
        made = QualityStage.of(data, work)
        about[name] = [made.generative(row, seed) for seed in row.seeds]
        for split in made.splits:
            for system in SYSTEMS:
                paths.setdefault(split, {})[_row(name, system)] = made.runs(split)[system]
    figures: dict[str, Any] = {}
    for split, runs in paths.items():
        against = [_row(WHOLE, system) for system in SYSTEMS]
        figures[split] = score(runs, stage.dataset, split, against)[0]
    name = stage.dataset.name
    write_json(out / f"ablation-{name}.json", {"splits": figures, "rows": about})
    stamp = provenance("experiment ablation", config.plain, {"dataset": dataset_sha256(data)}, whole.seeds[0])
    write_json(out / f"ablation-{name}.manifest.json", stamp)
    return {name if split == "test" else f"{name} ({split})": rows for split, rows in figures.items()}


def _row(name: str, system: str) -> str:
    return name if system == "generative" else f"{name}, codes alone"


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the tables of `change` laid over it."""
    merged = dict(base)
    for key, value in change.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged
