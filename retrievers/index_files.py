"""The part of an index folder that all retrievers write alike: `settings.json` and `doc_ids.json`.

`settings.json` names the retriever, so that a folder is never loaded by another one. The manifest is the business of
whoever owns the folder.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from genir.config import from_mapping
from genir.errors import ArtefactError
from genir.manifest import write_json

SETTINGS = "settings.json"
DOC_IDS = "doc_ids.json"

S = TypeVar("S")


def write_index_header(folder: Path, retriever: str, settings: Any, doc_ids: list[str]) -> None:
    """Write both files; `settings` is a dataclass."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DOC_IDS, doc_ids)
    write_json(folder / SETTINGS, {"retriever": retriever, "settings": asdict(settings)})


def read_index_header(folder: Path, retriever: str, cls: type[S]) -> tuple[S, list[str]]:
    """(settings, doc_ids) of an index. Raises ArtefactError where a file is missing, broken, or another retriever's."""
    header = read_json(folder / SETTINGS)
    if not isinstance(header, Mapping) or "settings" not in header:
        raise ArtefactError(f"{folder / SETTINGS}: not the settings of an index; build it again")
    if header.get("retriever") != retriever:
        raise ArtefactError(f"{folder}: an index of {header.get('retriever')!r}, expected one of {retriever!r}")
    settings = from_mapping(cls, header["settings"], str(folder / SETTINGS))
    doc_ids = read_json(folder / DOC_IDS)
    if not isinstance(doc_ids, list) or not all(isinstance(doc_id, str) for doc_id in doc_ids):
        raise ArtefactError(f"{folder / DOC_IDS}: expected a list of doc_ids; build the index again")
    return settings, doc_ids


def read_json(path: Path) -> Any:
    """A JSON file of an index. Raises ArtefactError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file, so this is no finished index; build it first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not valid JSON ({error}); build the index again") from None
