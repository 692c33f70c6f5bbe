"""Names a user may type -> what they stand for. Explicit dicts, nothing registered by being imported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from genir.config import from_mapping, load_toml
from genir.embedding import TextEncoder
from genir.errors import ConfigError, unknown_name
from genir.protocols import DocIDScheme, Generator

SCHEMES = (
    *("atomic", "numeric", "hierarchical", "residual", "product", "title", "url", "key-terms", "ngram", "views"),
    "random",
)
GENERATIVE = ("generative", "ngram")  # those that search with a trained model
RETRIEVERS = (*GENERATIVE, "bm25", "dense", "hybrid", "tfidf", "none")
RERANKERS = ("cross-encoder", "likelihood", "writer", "head")
GENERATORS = ("hf", "llama", "openai", "vllm")


def scheme_classes() -> dict[str, type[Any]]:
    """Scheme name -> class."""
    from docids.atomic import AtomicScheme
    from docids.hierarchical import HierarchicalScheme
    from docids.key_terms import KeyTermScheme
    from docids.ngram import NgramScheme
    from docids.numeric import NumericScheme
    from docids.product import ProductScheme
    from docids.random_control import RandomScheme
    from docids.residual import ResidualScheme
    from docids.title import TitleScheme
    from docids.url import UrlScheme
    from docids.views import ViewsScheme

    return {
        "atomic": AtomicScheme,
        "numeric": NumericScheme,
        "hierarchical": HierarchicalScheme,
        "residual": ResidualScheme,
        "product": ProductScheme,
        "title": TitleScheme,
        "url": UrlScheme,
        "key-terms": KeyTermScheme,
        "ngram": NgramScheme,
        "views": ViewsScheme,
        "random": RandomScheme,
    }


def make_scheme(name: str, settings: Mapping[str, Any], encoder: str, cache: Path | None) -> DocIDScheme:
    """A scheme by name with its settings; those that embed documents get `encoder`. Raises ConfigError for unknown names."""
    classes = scheme_classes()
    if name == "learned":
        raise ConfigError(
            "learned identifiers come from training, not from a corpus alone: build --scheme residual, then `genir train` with "
            "[learned] rounds = 3 in its --config file"
        )
    if name not in classes:
        raise unknown_name("scheme", name, classes)
    cls = classes[name]
    if "encoder" in settings:
        raise ConfigError("the encoder is not a setting of the scheme: use --encoder")
    made = from_mapping(cls, settings, f"scheme {name}")
    if any(field.name == "encoder" for field in fields(cls)):
        made = replace(made, encoder=TextEncoder(encoder, cache_dir=cache))
    return cast(DocIDScheme, made)


def make_generator(name: str, source: str, device: str = "auto", dtype: str = "auto", chat: bool = False) -> Generator:
    """A generator by name over `source`: a model's folder or hub name, or for openai a base URL. No weights are loaded yet.

    For llama, settings of the engine may follow: "meta-llama/Llama-2-7b-chat-hf,stages=2". With `chat`, models of hf and llama that
    were taught to chat get prompts as their user's turns. Raises ConfigError for unknown names and settings, ArtefactError for a hub
    name that cannot be fetched.
    """
    from genir.devices import pick_device

    if name == "hf":
        from rag.generators.hf import HFGenerator

        return HFGenerator(source, device, dtype, chat=chat)
    if name == "llama":
        from rag.llama.engine import EngineOptions, LlamaEngine

        source, *pairs = [source] if Path(source).is_dir() else source.split(",")
        settings = {"device": pick_device(device).type, "dtype": dtype} | parse_settings(pairs)
        options = from_mapping(EngineOptions, settings, "the generator llama")
        return LlamaEngine(llama_folder(source), options, Path(source).name, chat)
    if name == "openai":
        from rag.generators.openai import OpenAIGenerator

        return OpenAIGenerator(source)
    if name == "vllm":
        from rag.generators.vllm import VLLMGenerator

        return VLLMGenerator(source, dtype)
    raise unknown_name("generator", name, GENERATORS)


def llama_folder(source: str) -> Path:
    """The folder of a LLaMA by folder or hub name; raises as `genir.models.pretrained.hub_folder` does."""
    from genir.models.pretrained import hub_folder

    return hub_folder(source, ("*.json", "*.safetensors"))


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE strings as TOML values; a bare word is a string. Raises ConfigError for anything without "="."""
    import tomllib

    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise ConfigError(f"setting {pair!r}: expected KEY=VALUE, e.g. levels=4")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value
    return settings


def configured(path: Path | None, settings: Sequence[str], tables: Sequence[str] = ("training",)) -> dict[str, Any]:
    """The values of a training's TOML file, none without one, with KEY=VALUE settings over them ("training.epochs=2").

    Raises ConfigError for a setting of any other table than `tables`.
    """
    values: dict[str, Any] = {} if path is None else load_toml(path)
    for key, value in parse_settings(settings).items():
        table, _, name = key.rpartition(".")
        if table and table not in tables:
            raise ConfigError(f"setting {key!r}: {unknown_name('table', table, tables)}")
        inner = values.setdefault(table, {}) if table else values
        inner[name] = value
    return values


def option_of(setting: str) -> str:
    """The option of `genir search` that changes a setting of the generative search."""
    denied = "no-" if setting in ("terms", "look_ahead") else ""
    return f"--{denied}{setting.replace('_', '-')}"


Loader = Callable[[Path, dict[str, Any]], Any]


def model_loaders() -> dict[str, Loader]:
    """Architecture -> function that loads a saved model."""
    from genir.models.causal import CausalModel
    from genir.models.code_decoder import CodeDecoder
    from genir.models.seq2seq import Seq2SeqModel

    return {"causal": CausalModel.load, "code_decoder": CodeDecoder.load, "seq2seq": Seq2SeqModel.load}
