"""What a model folder holds, what it was made of, and how an earlier model leaves it."""

import shutil
from collections.abc import Collection
from pathlib import Path

from experiments.training.material import GeneratorConfig
from experiments.training.teaching import TeacherConfig
from genir.embedding import encoder_fingerprint
from genir.formats import CORPUS, QRELS, QUERIES
from genir.manifest import MANIFEST, sha256_of
from genir.records import Dataset
from retrievers.index_files import read_json

MATERIAL = ".material"  # what models made for training, until it ends; hidden, so none of the folder's outputs
# What a model folder may hold beside its manifest; code_decoder writes encoder/, seq2seq network/.
WRITTEN = (
    *("config.json", "encoder", "model.safetensors", "network", "own_embedding.safetensors"),
    *("docids", "titles.json", "training.json"),
)


def inputs_of(
    dataset: Dataset, data: Path, docids: Path, pretrained: str, generator: GeneratorConfig, teacher: TeacherConfig
) -> dict[str, str]:
    """sha256 of everything that training reads: of the judgements those of train and dev."""
    splits = [split for split in ("train", "dev") if split in dataset.qrels]
    files = [data / CORPUS, data / QUERIES, *(data / QRELS / f"{split}.tsv" for split in splits)]
    read = {path.relative_to(data).with_suffix("").as_posix(): sha256_of(path) for path in files if path.is_file()}
    models = {**generator.inputs, **teacher.inputs, "pretrained": encoder_fingerprint(pretrained)}
    return {**read, **models, "docids": sha256_of(docids)}


def copy_model(source: Path, out: Path, without: Collection[str] = ()) -> None:
    """What a finished model's folder holds, but for its manifest and what is named `without`; `out` counts as unfinished from there."""
    (out / MANIFEST).unlink(missing_ok=True)
    for path in source.iterdir():
        if path.name in without:
            continue
        if path.is_dir():
            shutil.copytree(path, out / path.name, dirs_exist_ok=True)
        elif path.name != MANIFEST:
            out.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, out / path.name)


def history_of(folder: Path) -> list[dict[str, float]]:
    """The learning curve of a finished training, from its training.json."""
    return list(read_json(folder / "training.json")["history"])
