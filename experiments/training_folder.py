"""The folder that a training writes: what it may hold, how an earlier result leaves it, what a checkpoint in it was made of.

Invariants: nothing of the user's, nor of another stage, is removed; a manifest goes first, so that the folder counts as unfinished from
there; an unfinished training is gone on with only where that was asked for.
"""

import hashlib
import json
import shutil
import warnings
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

    def check(self, out: Path, resume: bool) -> None:
        """Raise ArtefactError for a folder that holds other things, or an unfinished training where not `resume`.

        Warns of a finished one, which will be replaced.
        """
        check_out(out, (*self._names(out), CHECKPOINT, BEST))
        if (out / MANIFEST).is_file():
            warnings.warn(
                f"{out}: holds a finished {self.called} of other inputs or settings; it will be replaced", stacklevel=3
            )
        if (out / CHECKPOINT).is_file() and not resume:
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
