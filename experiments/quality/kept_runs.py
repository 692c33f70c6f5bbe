"""The runs of one data set's systems: each is searched once, and taken again wherever it was made of the same.

A run is named by a digest of what it is made of: corpus, the split's questions and judgements, the retriever's settings, and what the
system says of itself (`made_of`), a model's manifest, say.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from experiments.retrieval import Built, is_searched, search_split
from genir.formats import CORPUS, QRELS
from genir.manifest import sha256_of, write_json
from genir.records import Dataset
from retrievers.index_files import read_json

DEPTH = 50

About = dict[str, Any]  # what there is to say of a system beside its runs


def digest(*plain: object) -> str:
    """Names what was made by a configuration, so that what several rows share is made once."""
    whole = [asdict(one) if is_dataclass(one) and not isinstance(one, type) else one for one in plain]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:8]


@dataclass
class KeptRuns:
    """Runs under WORK/runs, and what was found out on the way under WORK/baselines; `paths` are split -> system -> files, one a seed."""

    dataset: Dataset
    data: Path
    work: Path
    splits: Sequence[str]
    paths: dict[str, dict[str, list[Path]]] = field(default_factory=dict)

    @property
    def corpus(self) -> str:
        """The fingerprint of the documents."""
        return sha256_of(self.data / CORPUS)

    def asked(self, split: str) -> dict[str, str]:
        """What a run of a split depends on beside the retriever, and what figures of it depend on beside the run."""
        texts = [(query.query_id, query.text) for query in self.dataset.split(split)]
        return {"queries": digest(texts), "qrels": sha256_of(self.data / QRELS / f"{split}.tsv")}

    def search(self, name: str, built: Built, made_of: Mapping[str, str]) -> None:
        """The run of every split; an earlier one is taken where corpus, questions, judgements, settings and `made_of` are the same."""
        for path, split, inputs in self._files(name, built.settings, made_of):
            self._take(split, name, path)
            if not is_searched(path, inputs):
                search_split(built, self.dataset, split, DEPTH, path, inputs)

    def search_once(
        self,
        name: str,
        settings: Mapping[str, Any],
        made_of: Mapping[str, str],
        make: Callable[[], tuple[Built, About]],
    ) -> About:
        """As `search`, for a costly system: it is made only where one of its runs, or what `make` said of it, is missing."""
        files = list(self._files(name, settings, made_of))
        kept = self._kept(f"{name}-{digest(made_of, settings)}")
        if not kept.is_file() or not all(is_searched(path, inputs) for path, _, inputs in files):
            built, about = make()
            for path, split, inputs in files:
                search_split(built, self.dataset, split, DEPTH, path, inputs)
            write_json(kept, about)
        for path, split, _ in files:
            self._take(split, name, path)
        return dict(read_json(kept))

    def first_runs(self, name: str, make: Callable[[], About]) -> About:
        """The first runs of all, which `make` searches together, and what it says of them; taken where they are all there."""
        assert not self.paths, "these come before all others, once"
        kept = self._kept(name)
        if not kept.is_file() or not self._recall(read_json(kept)["runs"]):
            about = make()
            names = {
                split: {one: [path.name for path in files] for one, files in found.items()}
                for split, found in self.paths.items()
            }
            write_json(kept, {"about": about, "runs": names})
        return dict(read_json(kept)["about"])

    def _kept(self, name: str) -> Path:
        return self.work / "baselines" / f"{name}.json"

    def _take(self, split: str, name: str, path: Path) -> None:
        self.paths.setdefault(split, {}).setdefault(name, []).append(path)

    def _recall(self, names: Mapping[str, Mapping[str, Sequence[str]]]) -> bool:
        """Whether these runs are all there; then they are taken."""
        runs = {
            split: {name: [self.work / "runs" / split / file for file in files] for name, files in found.items()}
            for split, found in names.items()
        }
        files = [path for found in runs.values() for paths in found.values() for path in paths]
        if not all(path.is_file() and path.with_suffix(".json").is_file() for path in files):
            return False
        self.paths = runs
        return True

    def _files(
        self, name: str, settings: Mapping[str, Any], made_of: Mapping[str, str]
    ) -> Iterator[tuple[Path, str, Mapping[str, str]]]:
        """Every split's run, and what it is made of."""
        for split in self.splits:
            inputs = {**made_of, "corpus": self.corpus, "settings": digest(settings), **self.asked(split)}
            yield self.work / "runs" / split / f"{name}-{digest(inputs)}.trec", split, inputs
