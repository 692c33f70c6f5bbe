"""Readers by name: what `--generator` accepts."""

from pathlib import Path

from experiments.registry import GENERATORS, make_generator
from genir.errors import ArtefactError
from rag.generators.extractive import ExtractiveGenerator
from rag.generators.hf import HFGenerator
from rag.reader import SETTINGS_FILE, SmallReader
from rag.reading import Reader, as_reader


def make_reader(name: str, device: str = "auto") -> Reader:
    """`extractive`, a folder that `SmallReader.save` wrote, or any Hugging Face causal language model by name or folder.

    `KIND:SOURCE` names another backend: `llama:FOLDER`, `vllm:NAME`, `openai:URL`, `hf:NAME`. Raises ArtefactError for a path where
    no folder is.
    """
    if name == "extractive":
        return ExtractiveGenerator()
    kind, colon, source = name.partition(":")
    if colon and kind in GENERATORS:
        return as_reader(make_generator(kind, source, device))
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise ArtefactError(
            f"--generator {name}: no such folder; give extractive, the folder of a reader or of a causal model, or a hub name"
        )
    if (Path(name) / SETTINGS_FILE).is_file():
        return SmallReader.load(Path(name), device)
    return as_reader(HFGenerator(name, device))
