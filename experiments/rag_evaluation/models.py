"""Models checked before anything is read, and loaded before anything is measured, so that no cost hangs on which row came first, or on what
was kept from an earlier run.

Known gap: weights of a language model are not read by the check, since answers that are kept need none, and several models together may be
larger than the memory: a file that is there and broken is found when its model is first asked.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from genir.embedding import resolve_encoder
from genir.errors import ArtefactError, MissingExtraError
from genir.models.pretrained import loading
from rag.checkers.embedding import EmbeddingChecker
from rag.checkers.nli import NLIChecker, entailment_labels
from rag.generators.hf import HFGenerator
from rag.generators.openai import OpenAIGenerator
from rag.generators.vllm import VLLMGenerator
from rag.llama.engine import LlamaEngine
from rag.llama.weights import Shards, pick_dtype
from rag.reading import GeneratorReader, Reader
from rag.verification import SupportChecker


def check_model(reader: Reader) -> None:
    """Raise what loading a generator's model would raise, as far as that shows without its weights: settings, configuration, tokenizer, the
    weights' files, a server that answers. Nothing of other readers, which are loaded when they are made.
    """
    generator = reader.generator if isinstance(reader, GeneratorReader) else None
    if isinstance(generator, HFGenerator) and generator.source:
        _check_hugging_face(generator.source)
    elif isinstance(generator, LlamaEngine):
        _ = generator.plan, generator.tokenizer
        Shards(generator.folder, pick_dtype(generator.options.dtype, generator.config), torch.device("cpu"))
    elif isinstance(generator, OpenAIGenerator) and not generator.model:
        generator.models()
    elif isinstance(generator, VLLMGenerator) and find_spec("vllm") is None:
        raise MissingExtraError("vllm", "vllm", "the generator 'vllm'")


def check_checker(checker: SupportChecker) -> None:
    """Raise what loading a checker's network would raise at its first statement, as far as that shows in its configuration."""
    if isinstance(checker, NLIChecker):
        with loading(f"NLI model {checker.source!r}"):
            labels = _configuration(checker.source).id2label
        entailment_labels(labels, checker.source)
    elif isinstance(checker, EmbeddingChecker):
        source = resolve_encoder(checker.encoder.name)
        with loading(f"encoder {checker.encoder.name!r}"):
            _configuration(source)


def _configuration(source: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source)


def _check_hugging_face(source: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with loading(f"language model {source!r}"), torch.device("meta"):
        AutoModelForCausalLM.from_config(_configuration(source))
        AutoTokenizer.from_pretrained(source)
    folder = Path(source)
    if folder.is_dir() and not any(one.suffix in (".safetensors", ".bin") for one in folder.iterdir()):
        raise ArtefactError(f"language model {source!r}: cannot be loaded: the folder has no weights (*.safetensors)")


def load_model(reader: Reader) -> None:
    """Load what a generator's reader would load at its first prompt; nothing of others, which are loaded when they are made."""
    generator = reader.generator if isinstance(reader, GeneratorReader) else None
    if isinstance(generator, HFGenerator | VLLMGenerator):
        generator.load()
    elif isinstance(generator, LlamaEngine):
        generator.start()
