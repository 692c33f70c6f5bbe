"""summary.json, which several runs of an experiment share: each writes its own part, and the others' stay."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genir.errors import ArtefactError
from genir.manifest import write_json

SUMMARY = "summary.json"


def read_summary(out: Path) -> dict[str, Any]:
    """What the folder's summary.json holds, nothing where there is none. Raises ArtefactError where it is something else."""
    path = out / SUMMARY
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ArtefactError(f"{path}: not a summary of figures; give the name of a new folder")
    return found


def merge_summary(out: Path, part: Mapping[str, Any], replaced: Callable[[str], bool] = lambda name: False) -> None:
    """Write `part` into the folder's summary, for what stands under its names and under those that are `replaced`."""
    kept = {name: figures for name, figures in read_summary(out).items() if not replaced(name)}
    write_json(out / SUMMARY, kept | dict(part))
