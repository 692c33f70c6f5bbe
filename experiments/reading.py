"""Readers by name: what `--generator` accepts."""

import re
from pathlib import Path

import rag
from experiments.registry import GENERATORS, make_generator
from genir.errors import ArtefactError, ConfigError
from genir.records import Dataset
from rag.generators.extractive import ExtractiveGenerator
from rag.generators.hf import HFGenerator
from rag.joint.answerer import JointAnswerer
from rag.joint.model import SETTINGS_FILE as JOINT_SETTINGS_FILE
from rag.llama_reader.reader import SETTINGS_FILE as LLAMA_SETTINGS_FILE
from rag.llama_reader.reader import LlamaReader
from rag.reading import Reader, as_reader
from rag.small_reader.reader import SETTINGS_FILE, SmallReader
from rag.span.reader import SETTINGS_FILE as SPAN_SETTINGS_FILE
from rag.span.reader import SpanReader
from rag.template import written_in

# Ship with the package where they were committed.
SPAN_WEIGHTS = Path(rag.__file__).parent / "readers" / "span"
LLAMA_WEIGHTS = Path(rag.__file__).parent / "readers" / "llama"


def make_reader(name: str, device: str = "auto") -> Reader:
    """`extractive`, `span` or `llama` (the weights that ship), a folder of a span, llama or small reader, or any Hugging Face causal
    language model by name or folder.

    `KIND:SOURCE` names another backend: `span:FOLDER`, `llama:FOLDER` (a llama reader, or any LLaMA), `vllm:NAME`, `openai:URL`,
    `hf:NAME`; for `joint:FOLDER` see `make_reader_over`. Behind a span or llama reader `,min_confidence=X` replaces its own threshold.
    Raises ArtefactError for a path where no folder is, and for `span` and `llama` where no weights ship; ConfigError for other settings.
    """
    if name == "extractive":
        return ExtractiveGenerator()
    kind, colon, source = name.partition(":")
    bare, settings = _split(name)
    abstaining = _abstaining(bare, device)
    if abstaining is not None:
        return _with_threshold(abstaining, name, settings) if settings else abstaining
    if colon and kind in GENERATORS:
        return as_reader(make_generator(kind, source, device, chat=True))
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise ArtefactError(
            f"--generator {name}: no such folder; give extractive, the folder of a reader or of a causal model, or a hub name"
        )
    if (Path(name) / SETTINGS_FILE).is_file():
        return SmallReader.load(Path(name), device)
    return as_reader(HFGenerator(name, device, chat=True))


def joint_folder(name: str) -> Path | None:
    """The folder of the joint model that `--generator` names, as `joint:FOLDER` or FOLDER; None for any other reader."""
    bare, _ = _split(name)
    kind, colon, source = bare.partition(":")
    if colon and kind == "joint":
        return Path(source)
    return Path(bare) if (Path(bare) / JOINT_SETTINGS_FILE).is_file() else None


def make_reader_over(name: str, dataset: Dataset, data: Path | None, device: str = "auto") -> Reader:
    """`make_reader`, and joint models, which answer over the corpus that they were trained for: `data` is its folder.

    `,copy=false` behind a joint model lets it write what it likes, `,copy=true` only what its passage says, however it was trained. Raises
    ConfigError for a joint model without a folder of data, or with another setting, and what `make_reader` and `load_joint` raise.
    """
    folder = joint_folder(name)
    if folder is None:
        return make_reader(name, device)
    if data is None:
        raise ConfigError(
            f"--generator {name}: a joint model answers over the data that it was trained for; give --data"
        )
    from experiments.joint.learning import load_joint

    joint, (_, settings) = JointAnswerer(load_joint(folder, dataset, data, device)), _split(name)
    if settings not in ("", "copy=true", "copy=false"):
        raise ConfigError(
            f"--generator {name}: {settings!r} is no setting of a joint model; give copy=true or copy=false"
        )
    return joint.with_settings(copy=settings == "copy=true") if settings else joint


def default_generator(question: str = "") -> str:
    """`span` where its weights ship, for a question that it can read: it knows English; else `extractive`."""
    return default_generator_in(written_in(question))


def default_generator_in(language: str) -> str:
    """`default_generator` for questions in a language of rag.template.LANGUAGES."""
    return "span" if span_ships() and language == "en" else "extractive"


def span_ships() -> bool:
    """Whether weights of the reader `span` ship with this installation, so that it can be a default."""
    return (SPAN_WEIGHTS / SPAN_SETTINGS_FILE).is_file()


def _abstaining(name: str, device: str) -> SpanReader | LlamaReader | None:
    """The reader with a threshold of its own, `span` or `llama`, that a name or folder stands for; None for any other."""
    kind, colon, source = name.partition(":")
    folder = Path(source if colon else name)
    if name == "span":
        return SpanReader.load(_shipped(name, SPAN_WEIGHTS / SPAN_SETTINGS_FILE), device)
    if name == "llama":
        return LlamaReader.load(_shipped(name, LLAMA_WEIGHTS / LLAMA_SETTINGS_FILE), device)
    if (colon and kind == "span") or (not colon and (folder / SPAN_SETTINGS_FILE).is_file()):
        return SpanReader.load(folder, device)
    if (kind == "llama" or not colon) and (folder / LLAMA_SETTINGS_FILE).is_file():
        return LlamaReader.load(folder, device)
    return None


def _split(name: str) -> tuple[str, str]:
    """A reader's name, and the settings behind it, KEY=VALUE; "" where there are none."""
    found = re.fullmatch(r"(.+?),(\w+=.*)", name)
    return (found[1], found[2]) if found else (name, "")


def _with_threshold(reader: SpanReader | LlamaReader, name: str, settings: str) -> SpanReader | LlamaReader:
    """The reader abstaining below the `min_confidence` of `settings`. Raises ConfigError for any other setting, or no number."""
    key, _, value = settings.partition("=")
    try:
        if key.strip() == "min_confidence" and 0 <= float(value) <= 1:
            return reader.with_settings(min_confidence=float(value))
    except ValueError:
        pass
    raise ConfigError(
        f"--generator {name}: {settings!r} is no setting of a reader; give min_confidence=0 to 1, e.g. 0.2"
    )


def _shipped(name: str, settings: Path) -> Path:
    """The folder of a reader whose weights ship with this installation. Raises ArtefactError where they do not."""
    if not settings.is_file():
        raise ArtefactError(
            f"--generator {name}: no weights ship with this installation; train some with `genir train-reader {name} --data DIR --out "
            f"FOLDER`, and give --generator {name}:FOLDER"
        )
    return settings.parent
