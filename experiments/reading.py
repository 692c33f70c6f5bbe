"""Readers by name: what `--generator` accepts."""

from pathlib import Path

from rag.generators.extractive import ExtractiveGenerator
from rag.generators.hf import HFGenerator
from rag.reader import SETTINGS_FILE, SmallReader
from rag.reading import Reader, as_reader


def make_reader(name: str, device: str = "auto") -> Reader:
    """`extractive`, a folder that `SmallReader.save` wrote, or any Hugging Face causal language model by name or folder."""
    if name == "extractive":
        return ExtractiveGenerator()
    if (Path(name) / SETTINGS_FILE).is_file():
        return SmallReader.load(Path(name))
    return as_reader(HFGenerator(name, device))
