"""One round of learning identifiers with a model, as a folder that a cut run can go on from.

`begun.json` is written once the round's start is there (identifiers, document vectors, weights), `done.json` once its
end is (progress, its best weights and its last ones); between the two the folder holds the checkpoint of
`genir.training`. What only a resumption within the round needs is removed at its end.

The next round goes on from the last weights, not from the best: training dips at first, and a round that fell back to
its own start would have taught nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_weights_file

from docids.learned import Reassignment, codes_of, reassigned_table
from docids.quality import diagnose
from docids.table import DocIDTable
from genir.checkpoint import Progress, load_weights, save_weights
from genir.errors import ArtefactError
from genir.manifest import write_atomically, write_json
from genir.models.code_decoder import CodeDecoder
from genir.training import CHECKPOINT, discard_checkpoint

BEST = "best_of_round.safetensors"
_START, _LAST, _VECTORS = "start.safetensors", "last.safetensors", "vectors.safetensors"
_BEGUN, _DONE = "begun.json", "done.json"


@dataclass
class Round:
    """One round's folder: begun.json once its start is there, done.json once its end is."""

    folder: Path
    number: int
    made_of: str

    def restore(self, model: CodeDecoder) -> bool:
        """Load the last weights of a finished round, or the start of one that has begun; False without either."""
        if not (self.folder / _BEGUN).is_file():
            return False
        if self._read(_BEGUN)["made_of"] != self.made_of:
            raise ArtefactError(
                f"{self.folder}: made with other examples or settings; go on with those, or delete {self.folder.parent} "
                "and train again"
            )
        self.load(model, _LAST if self.is_done() else _START)
        return True

    def begin(
        self,
        model: CodeDecoder,
        table: DocIDTable,
        vectors: np.ndarray,
        how: Reassignment | None,
        settings: Mapping[str, object],
    ) -> None:
        """Write the start down, with codes for `vectors` (N, D) assigned anew as `how` says; None keeps the table's."""
        about: dict[str, Any] = {"round": self.number, "changed": 0.0, "revived": 0, "moved": 0}
        if how is not None:
            table, made = reassigned_table(table, vectors, codebooks_of(model, table), how, settings)
            model.start_from_codebooks(made.quantised.codebooks)
            about |= {"changed": made.changed / len(table), "revived": made.revived, "moved": made.moved}
        self.folder.mkdir(parents=True, exist_ok=True)
        table.save(self.folder / "docids")
        write_atomically(self.folder / _VECTORS, lambda path: save_file({"vectors": vectors}, path))
        self._save(model, _START)
        about |= _diagnosis(table, vectors)
        write_json(self.folder / _BEGUN, {"made_of": self.made_of, "figures": about})

    def finish(self, model: CodeDecoder, progress: Progress) -> None:
        """Write the end down, `model` having the best weights, and leave it with the last ones.

        Drops what only a resumption within the round needs.
        """
        self._save(model, BEST)
        _load_last(model, self.folder / CHECKPOINT)
        self._save(model, _LAST)
        write_json(self.folder / _DONE, asdict(progress))
        discard_checkpoint(self.folder)
        for name in (_START, _VECTORS):
            (self.folder / name).unlink(missing_ok=True)

    def is_done(self) -> bool:
        """Whether its end is there."""
        return (self.folder / _DONE).is_file()

    def progress(self) -> Progress:
        """Its training, once it is done."""
        return Progress(**self._read(_DONE))

    def figures(self) -> dict[str, Any]:
        """What the re-assignment before the round did, and the round's dev figures."""
        progress = self.progress()
        return {
            **self._read(_BEGUN)["figures"],
            "start_dev": progress.history[0]["dev"],
            "best_dev": progress.best,
            "steps": progress.step,
            "seconds": round(progress.seconds, 1),
        }

    def table(self) -> DocIDTable:
        """The identifiers it trains on, once it has begun."""
        return DocIDTable.load(self.folder / "docids")

    def vectors(self) -> np.ndarray:
        """The documents' vectors (N, D) at its start, until it is done."""
        return np.asarray(load_file(self.folder / _VECTORS)["vectors"])

    def load(self, model: CodeDecoder, name: str) -> None:
        """Load some of its weights."""
        try:
            load_weights(self.folder / name, model)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ArtefactError(
                f"{self.folder / name}: cannot be loaded ({error}); delete {self.folder.parent} and train again"
            ) from None

    def _save(self, model: CodeDecoder, name: str) -> None:
        save_weights(self.folder / name, model.state_dict())

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ArtefactError(
                f"{self.folder / name}: cannot be read ({error}); delete {self.folder.parent} and train again"
            ) from None


def _load_last(model: CodeDecoder, checkpoint: Path) -> None:
    """Load the weights of a training's checkpoint, which stands at its last step; without a step there is none."""
    if checkpoint.is_file():
        tensors = load_weights_file(checkpoint)
        weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        model.load_state_dict(weights, strict=False)


def _diagnosis(table: DocIDTable, vectors: np.ndarray) -> dict[str, Any]:
    """The table's figures that tell a collapse of codes, by docids.quality: means and worst over its levels."""
    figures = diagnose(table, vectors)
    levels = figures["levels"]
    counts = [np.bincount(column) for column in codes_of(table).T]
    return {
        "collision_rate": figures["collision_rate"],
        "entropy_bits": float(np.mean([level["entropy_bits"] for level in levels])),
        "balance": float(np.mean([level["balance"] for level in levels])),
        "least_balance": min(level["balance"] for level in levels),
        "distinct_codes": [level["distinct"] for level in levels],
        "largest_code": max(int(count.max()) for count in counts),
        "neighbour_agreement": figures["neighbour_agreement"],
        **figures["reconstruction"],
    }


def codebooks_of(model: CodeDecoder, table: DocIDTable) -> np.ndarray:
    """The model's token embeddings as codebooks (L, C, D) of the table."""
    assert table.codebooks is not None
    rows = model.codes.weight.detach()[: table.vocab_size].cpu().numpy()
    return np.array(rows.reshape(table.codebooks.shape), dtype=np.float32)
