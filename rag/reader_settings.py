"""The settings file of a reader's folder, read and checked for every reader by one function."""

import json
from pathlib import Path
from typing import TypeVar

from genir.config import from_mapping
from genir.errors import ArtefactError, GenirError

T = TypeVar("T")


def read_reader_settings(path: Path, cls: type[T], made_by: str) -> T:
    """The settings that a reader was saved with; `made_by` is the command that makes such a folder.

    Raises ArtefactError where the file is missing or broken.
    """
    try:
        return from_mapping(cls, json.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError:
        raise ArtefactError(f"{path.parent}: no {path.name} there: expected a folder made by `{made_by}`") from None
    except (json.JSONDecodeError, UnicodeDecodeError, GenirError) as error:
        raise ArtefactError(f"{path}: not a reader's settings: {error}; train the reader again") from None
