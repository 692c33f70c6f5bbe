"""Experiment `ablation`: one switch at a time, from the same start, beside the whole.

The configuration is that of `quality`, with a table of rows; each names what it changes:

    [rows."no phrases".terms.sets.lexicon]
    phrases = false

Every row gives two systems, the model with its terms and its codes alone; `whole` is the configuration as it stands. A row that says
`base = "another row"` lies over that one, and is compared with it. What rows share is made once. p-values are of paired randomisation
tests against `whole`, or the base, Holm-corrected over the rows and measures that are tested against the same one.

Known gap: whether a change is a single switch is for the author of the file to see to; that it is one at all is checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.quality.config import QualityConfig, shipped
from experiments.quality.experiment import Figures, named, score
from experiments.quality.stage import QualityStage
from genir.config import load_toml
from genir.errors import ConfigError, unknown_name
from genir.formats import dataset_sha256
from genir.manifest import provenance, write_json

WHOLE = "whole"
SYSTEMS = ("generative", "generative_sequence_only")
_SHARED = ("measure", "seeds", "control", "max_questions")  # no row changes them: they make no model


@dataclass(frozen=True)
class AblationConfig:
    """The rows' configurations by name, `whole` first, and what each but that is compared with."""

    rows: Mapping[str, QualityConfig]
    plain: Mapping[str, Any]  # as it was read
    bases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> "AblationConfig":
        """A TOML file, `ablation.toml` without one. Raises ConfigError where it names no row, or one that changes nothing."""
        path = path or shipped("ablation")
        plain = load_toml(path)
        changes = plain.pop("rows", None)
        if not isinstance(changes, dict) or not changes or not all(isinstance(one, dict) for one in changes.values()):
            raise ConfigError(f'{path}: no rows; expected tables like [rows."no phrases".terms.sets.lexicon]')
        if WHOLE in changes:
            raise ConfigError(f"{path}: a row is called {WHOLE!r}, which is the configuration as it stands; rename it")
        tables: dict[str, dict[str, Any]] = {WHOLE: plain}
        rows = {WHOLE: QualityConfig.of(plain, str(path))}
        bases: dict[str, str] = {}
        for name, change in changes.items():
            where = f"{path}, row {name!r}"
            base = bases[name] = change.get("base", WHOLE)
            if base not in rows:
                raise ConfigError(f"{where}: {unknown_name('base', str(base), rows)}; a base stands before its rows")
            for key in change.keys() & set(_SHARED):
                raise ConfigError(f"{where}: {key} is for all rows: set it above them")
            own = {key: value for key, value in change.items() if key != "base"}
            tables[name] = _merged(tables[base], own)
            rows[name] = QualityConfig.of(tables[name], where)
            if rows[name] == rows[base]:
                raise ConfigError(f"{where}: changes nothing of {base!r}; leave it out, or change a setting")
        return cls(rows, plain | {"rows": changes}, bases)


def run(data: Path, out: Path, config: AblationConfig, work: Path) -> dict[str, Figures]:
    """Make or reuse every row under `work` and write OUT/ablation-<data set>.json; returns data set -> row -> figures."""
    paths: dict[str, dict[str, list[Path]]] = {}
    about: dict[str, Any] = {}
    stage = QualityStage.of(data, work, config.rows[WHOLE])
    for name, row in config.rows.items():
        made = stage.under(row)
        about[name] = {"base": config.bases.get(name), "seeds": [made.generative(seed) for seed in row.seeds]}
        for split in made.splits:
            for system in SYSTEMS:
                if system in made.runs(split):  # of summed views there are no terms
                    paths.setdefault(split, {})[_row(name, system)] = made.runs(split)[system]
    figures: dict[str, Figures] = {}
    for split, runs in paths.items():
        tests: dict[str, list[str]] = {}
        for name, base in config.bases.items():
            for system in SYSTEMS:
                if _row(name, system) in runs and _row(base, system) in runs:
                    tests.setdefault(_row(base, system), []).append(_row(name, system))
        figures[split] = score(runs, stage.dataset, split, tests)[0]
    name = stage.dataset.name
    write_json(out / f"ablation-{name}.json", {"questions": stage.questions, "splits": figures, "rows": about})
    seed = config.rows[WHOLE].seeds[0]
    stamp = provenance("experiment ablation", config.plain, {"dataset": dataset_sha256(data)}, seed)
    write_json(out / f"ablation-{name}.manifest.json", stamp)
    return {named(name, split): rows for split, rows in figures.items()}


def _row(name: str, system: str) -> str:
    return name if system == "generative" else f"{name}, codes alone"


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the tables of `change` laid over it."""
    merged = dict(base)
    for key, value in change.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged
