"""Readers by name: what `--generator` accepts."""

from pathlib import Path

import rag
from experiments.registry import GENERATORS, make_generator
from genir.errors import ArtefactError
from rag.generators.extractive import ExtractiveGenerator
from rag.generators.hf import HFGenerator
from rag.reading import Reader, as_reader
from rag.small_reader.reader import SETTINGS_FILE, SmallReader
from rag.span.reader import SETTINGS_FILE as SPAN_SETTINGS_FILE
from rag.span.reader import SpanReader

SPAN_WEIGHTS = Path(rag.__file__).parent / "readers" / "span"  # ship with the package where they were committed


def make_reader(name: str, device: str = "auto") -> Reader:
    """`extractive`, `span` (the weights that ship), or a folder that `SpanReader.save` or `SmallReader.save` wrote, or any Hugging Face
    causal language model by name or folder.

    `KIND:SOURCE` names another backend: `span:FOLDER`, `llama:FOLDER`, `vllm:NAME`, `openai:URL`, `hf:NAME`. Raises ArtefactError for a
    path where no folder is, and for `span` where no weights ship.
    """
    if name == "extractive":
        return ExtractiveGenerator()
    if name == "span":
        return SpanReader.load(_shipped(), device)
    kind, colon, source = name.partition(":")
    if colon and kind == "span":
        return SpanReader.load(Path(source), device)
    if colon and kind in GENERATORS:
        return as_reader(make_generator(kind, source, device))
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise ArtefactError(
            f"--generator {name}: no such folder; give extractive, the folder of a reader or of a causal model, or a hub name"
        )
    if (Path(name) / SPAN_SETTINGS_FILE).is_file():
        return SpanReader.load(Path(name), device)
    if (Path(name) / SETTINGS_FILE).is_file():
        return SmallReader.load(Path(name), device)
    return as_reader(HFGenerator(name, device))


def span_ships() -> bool:
    """Whether weights of the reader `span` ship with this installation, so that it can be a default."""
    return (SPAN_WEIGHTS / SPAN_SETTINGS_FILE).is_file()


def _shipped() -> Path:
    if not span_ships():
        raise ArtefactError(
            "--generator span: no weights ship with this installation; train some with `genir train-reader span --data DIR --out "
            "FOLDER`, and give --generator span:FOLDER"
        )
    return SPAN_WEIGHTS
