"""Tensors in one safetensors file under a seal: kind, version, a few facts, and a sha256 over every byte of the file.

The seal is the header's only metadata, so that the same content gives the same bytes. The sha256 stands at its
beginning, and counts as 64 zeros where it stands. Loading maps the file: pages are read when they
are used, and processes that load the same file share them. Invariant: what `read_sealed` returns is what `write_sealed`
was given; a file cut short, changed in any byte, or of another kind is refused.
"""

import hashlib
import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from genir.errors import ArtefactError
from genir.manifest import write_atomically

_BLANK = b"0" * 64
_MARK = b'"seal":"'


def write_sealed(
    path: Path, kind: str, version: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
) -> None:
    """Write atomically. `facts` are JSON."""
    seal = _BLANK.decode() + json.dumps({"kind": kind, "version": version, "facts": dict(facts)})

    def write(temporary: Path) -> None:
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary, metadata={"seal": seal}
        )
        with temporary.open("r+b") as stream:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                place = _place_of_digest(content)
                digest = _digest(content, place)
            stream.seek(place)
            stream.write(digest)

    write_atomically(path, write)


def read_sealed(path: Path, kind: str, version: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors, mapped, and the facts. Raises ArtefactError for anything but what `write_sealed` wrote."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place = _place_of_digest(content)
            intact = content[place : place + 64] == _digest(content, place)
            header = json.loads(content[8 : 8 + _header_size(content)]) if intact else {}
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: not a readable {kind} ({error}); build it again") from None
    if not intact:
        raise ArtefactError(f"{path}: damaged {kind}: its checksum does not fit its content; build it again")
    seal = json.loads(header["__metadata__"]["seal"][len(_BLANK) :])
    if (seal["kind"], seal["version"]) != (kind, version):
        raise ArtefactError(
            f"{path}: holds a {seal['kind']} of version {seal['version']}, expected a {kind} of version {version}; "
            "build it again"
        )
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{path}: not a readable {kind} ({error}); build it again") from None
    return tensors, seal["facts"]


def _header_size(content: mmap.mmap) -> int:
    return int.from_bytes(content[:8], "little")


def _place_of_digest(content: mmap.mmap) -> int:
    """Where the sha256 stands. Raises ValueError where there is none."""
    end = 8 + _header_size(content)
    mark = content.find(_MARK, 8, min(end, len(content)))
    if mark < 0 or end > len(content):
        raise ValueError("no sealed safetensors file")
    return mark + len(_MARK)


def _digest(content: mmap.mmap, place: int) -> bytes:
    """The sha256 of the file, in hex, with zeros in place of itself."""
    digest = hashlib.sha256()
    with memoryview(content) as view, view[:place] as before, view[place + 64 :] as behind:
        digest.update(before)
        digest.update(_BLANK)
        digest.update(behind)
    return digest.hexdigest().encode()
