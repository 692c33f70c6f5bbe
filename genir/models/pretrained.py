"""Loading what others have trained, by hub name or folder: what can go wrong there becomes one line for the user."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from genir.errors import ArtefactError

TOKENIZER_FILE = "tokenizer.json"


@contextmanager
def loading(called: str, fault: str = "cannot be loaded") -> Iterator[None]:
    """Raise as an ArtefactError, which names the source as `called`, what Hugging Face's loaders raise within."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{called}: {fault}: {reason}; give a folder or a hub name") from None


def load_fast_tokenizer(source: str) -> Any:
    """A tokenizer that tells where its tokens stand in the text. Raises ValueError for one that cannot: use it within `loading`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    if not tokenizer.is_fast:
        raise ValueError("its tokenizer cannot tell where a token stands in the text")
    return tokenizer


def check_tokenizer(tokenizer: Any, vocab_size: int | None) -> None:
    """Raise ValueError, for use within `loading`, for a tokenizer that does not belong to a network of `vocab_size` tokens.

    transformers makes an empty one, without a word, where a folder has no tokenizer file: it reads every text as unknown. Networks may
    know more tokens than their tokenizer writes, since sizes are rounded up, but not twice as many.
    """
    if vocab_size is None:  # reads no tokens of a vocabulary
        return
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= vocab_size or 2 * len(tokenizer) < vocab_size:
        raise ValueError(
            f"its tokenizer has {len(tokenizer)} tokens, with ids up to {highest}, but its network knows {vocab_size}: the tokenizer's "
            "files are missing, or another model's"
        )


def load_saved_tokenizer(folder: Path, vocab_size: int) -> Any:
    """The fast tokenizer that was saved beside a network of `vocab_size` tokens.

    Raises ValueError where its file is missing, broken, or another model's.
    """
    from transformers import AutoTokenizer

    if not (folder / TOKENIZER_FILE).is_file():
        raise ValueError(f"{TOKENIZER_FILE} is missing")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raises bare Exception for a broken file
        raise ValueError(f"{TOKENIZER_FILE} cannot be read: {str(error).splitlines()[0]}") from None
    check_tokenizer(tokenizer, vocab_size)
    return tokenizer


def hub_folder(source: str, patterns: Sequence[str]) -> Path:
    """The folder of a model by folder or hub name; of a hub name, the files that match `patterns` are fetched where they are not cached.

    What is neither stands for itself. Raises ArtefactError for a hub name that cannot be fetched.
    """
    folder = Path(source)
    if folder.is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", source) or source.startswith("."):
        return folder
    from huggingface_hub import snapshot_download

    with loading(f"model {source!r}"):
        return Path(snapshot_download(source, allow_patterns=list(patterns)))
