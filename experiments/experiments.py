"""Experiments by name, each a function of (data folder, output folder, configuration file, work folder) -> summary.

Without a configuration file an experiment takes the one of its name that ships.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def _quality(data: Path, out: Path, config: Path | None, work: Path) -> dict[str, Any]:
    from experiments.quality.config import QualityConfig
    from experiments.quality.experiment import run

    return run(data, out, QualityConfig.read(config), work)


def _ablation(data: Path, out: Path, config: Path | None, work: Path) -> dict[str, Any]:
    from experiments.quality.ablation import AblationConfig, run

    return run(data, out, AblationConfig.read(config), work)


def _labels(data: Path, out: Path, config: Path | None, work: Path) -> dict[str, Any]:
    from experiments.quality.labels import LabelsConfig, run

    return run(data, out, LabelsConfig.read(config), work)


EXPERIMENTS: Mapping[str, Callable[[Path, Path, Path | None, Path], dict[str, Any]]] = {
    "ablation": _ablation,
    "labels": _labels,
    "quality": _quality,
}
