"""The folder that a training writes: what it may hold, how an earlier result leaves it, what a checkpoint in it was made of.

Invariants: nothing of the user's, nor of another stage, is removed; a manifest goes first, so that the folder counts as unfinished from
there; a finished result of other inputs is replaced, and an unfinished training gone on with, only where that was asked for.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from genir.errors import ArtefactError
from genir.manifest import MANIFEST, check_out
from genir.training import BEST, CHECKPOINT
from retrievers.index_files import read_json


@dataclass(frozen=True)
class TrainingFolder:
    """A kind of them: `called` "model", say, in messages; `written` are the names that it may hold beside manifest and checkpoints."""

    stage: str
    called: str
    written: tuple[str, ...]

    def check(self, out: Path, resume: bool, overwrite: bool = False) -> None:
        """Raise ArtefactError for a folder that holds other things, an unfinished training where not `resume`, or a finished one that was
        made otherwise where not `overwrite`.

        Going on with a training that was begun over a finished one needs `resume` alone.
        """
        check_out(out, (*self._names(out), CHECKPOINT, BEST))
        begun = (out / CHECKPOINT).is_file()
        if (out / MANIFEST).is_file() and not overwrite and not (begun and resume):
            raise ArtefactError(
                f"{out}: holds a finished {self.called} of other inputs or settings, or one that lacks a file; give the name of a new "
                "folder, or --replace to lose it"
            )
        if begun and not resume:
            raise ArtefactError(
                f"{out}: holds an unfinished training; go on with --resume, or delete {CHECKPOINT} there to begin anew"
            )

    def clear(self, out: Path) -> None:
        """Remove an earlier result, its manifest first; checkpoints stay."""
        names = self._names(out)
        (out / MANIFEST).unlink(missing_ok=True)
        for name in names:
            path = out / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _names(self, out: Path) -> set[str]:
        """What is ours in the folder; a finished one says more of itself: tokenizers differ in their files."""
        if not (out / MANIFEST).is_file():
            return set(self.written)
        manifest = read_json(out / MANIFEST)
        if manifest.get("stage") != self.stage:
            raise ArtefactError(f"{out}: holds a finished {manifest.get('stage')}; give the name of a new folder")
        return {*self.written, *(PurePath(name).parts[0] for name in manifest.get("outputs", ()))}


def fingerprint(
    config: Any, inputs: Mapping[str, str], lessons: object = None, free: Collection[str] = ("training",)
) -> str:
    """What a checkpoint must have been made of to be resumed: everything but when to stop, which the training's settings decide.

    `free` are the fields of the configuration that may change between the runs; `lessons`, plain values, were drawn for it.
    """
    plain = {name: value for name, value in asdict(config).items() if name not in free}
    whole = [plain, dict(inputs)] + ([] if lessons is None else [lessons])
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def shipped(config: Mapping[str, Any], start: str) -> dict[str, Any]:
    """A training's configuration as a packed reader tells it: what it started from, its key `start`, a folder by its last name."""
    named = config[start]
    return {**config, start: Path(named).name if Path(named).is_dir() else named, "storage": "int8"}
