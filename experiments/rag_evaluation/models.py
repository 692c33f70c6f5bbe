"""Models loaded before anything is measured, so that no cost hangs on which row came first, or on what was kept from an earlier run."""

from rag.generators.hf import HFGenerator
from rag.generators.vllm import VLLMGenerator
from rag.llama.engine import LlamaEngine
from rag.reading import GeneratorReader, Reader


def load_model(reader: Reader) -> None:
    """Load what a generator's reader would load at its first prompt; nothing of others, which are loaded when they are made."""
    generator = reader.generator if isinstance(reader, GeneratorReader) else None
    if isinstance(generator, HFGenerator | VLLMGenerator):
        generator.load()
    elif isinstance(generator, LlamaEngine):
        generator.start()
