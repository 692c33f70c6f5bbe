"""manifest.json: what made a folder. Written last, through a temporary name: a folder without one is unfinished.

A manifest holds the stage, its configuration, the sha256 of its inputs, the seed, the sizes of its outputs, versions, the git commit
and the machine. `is_current` is how a stage knows that it can reuse what is there: same stage, same configuration, same inputs, and
every output still there. Known gap: an output that changed but kept its size is not noticed.
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from genir import __version__
from genir.errors import ArtefactError

MANIFEST = "manifest.json"
# What training keeps for a resumption until the manifest is written, and removes then: no outputs.
PASSING = ("checkpoint.safetensors", "best.safetensors")
_PACKAGES = ("torch", "transformers", "numpy", "bm25s", "faiss-cpu", "ir-measures")


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_atomically(path, lambda temporary: cast(None, temporary.write_text(text, encoding="utf-8")))


def sha256_of(path: Path) -> str:
    """Hex digest of a file, or of a folder's files (names and contents, manifest included, hidden files left out)."""
    digest = hashlib.sha256()
    if path.is_dir():
        for name, file in _visible_files(path):
            digest.update(f"{name}\0{sha256_of(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def provenance(stage: str, config: object, inputs: Mapping[str, str], seed: int = 0) -> dict[str, Any]:
    """What made something: the part of a manifest that knows no folder, for figures that are a single file."""
    return {
        "stage": stage,
        "config": _plain(config),
        "inputs": dict(inputs),
        "seed": seed,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "git_commit": _git_commit(),
        "machine": machine(),
    }


def write_manifest(
    folder: Path, stage: str, config: object, inputs: Mapping[str, str], seed: int = 0, **facts: Any
) -> dict[str, Any]:
    """Declare `folder` finished; what it holds now, hidden files left out, are its outputs.

    `inputs` maps a name to the sha256 of what was read; `facts` are free (figures, times).
    """
    outputs = {name: file.stat().st_size for name, file in _visible_files(folder) if name not in (MANIFEST, *PASSING)}
    manifest = provenance(stage, config, inputs, seed) | {"facts": facts, "outputs": outputs}
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path, stage: str, made_by: str) -> dict[str, Any]:
    """The manifest of a finished folder. Raises ArtefactError where it is missing, broken, or of another stage.

    So does an output that is gone, or has another size than it had. `made_by` is the command that makes such a folder; it goes
    into the message.
    """
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder; make one with `{made_by}`")
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtefactError(
            f"{folder}: has no {MANIFEST}, so it is unfinished or of another kind; make it with `{made_by}`"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found, outputs = manifest["stage"], dict(manifest.get("outputs", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"{path}: not a readable manifest ({error!r}); make the folder again with `{made_by}`"
        ) from None
    if found != stage:
        raise ArtefactError(f"{folder}: holds {found!r}, expected {stage!r}; make one with `{made_by}`")
    for name, size in outputs.items():
        file = folder / name
        if not file.is_file():
            raise ArtefactError(f"{file}: is missing, {MANIFEST} lists it; make the folder again with `{made_by}`")
        if file.stat().st_size != size:
            raise ArtefactError(
                f"{file}: has {file.stat().st_size} bytes, but had {size} when it was finished; make the folder again with "
                f"`{made_by}`"
            )
    return cast(dict[str, Any], manifest)


def is_current(folder: Path, stage: str, config: object, inputs: Mapping[str, str], seed: int = 0) -> bool:
    """Whether `folder` is finished and was made by the same stage from the same configuration, inputs and seed.

    A manifest without a list of outputs, as earlier versions wrote them, is not current.
    """
    try:
        manifest = read_manifest(folder, stage, made_by="")
    except ArtefactError:
        return False
    expected: list[Any] = json.loads(json.dumps([_plain(config), dict(inputs), seed]))
    found = [manifest.get(key) for key in ("config", "inputs", "seed")]
    return found == expected and "outputs" in manifest


def check_out(folder: Path, names: Collection[str]) -> None:
    """Raise ArtefactError unless a stage that writes `names` may write into `folder`: it is new, or holds nothing else.

    So nothing of the user's, nor of another stage, is overwritten; what an unfinished run of this stage left is.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtefactError(f"{folder}: is a file; give the name of a new folder")
    others = sorted(path.name for path in folder.glob("[!.]*") if path.name not in {*names, MANIFEST})
    if others:
        raise ArtefactError(
            f"{folder}: already holds other things ({', '.join(others[:3])}); give the name of a new folder"
        )


def machine() -> dict[str, Any]:
    """The machine in a few words; no host name, no path."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": model, "cores": cores, "system": platform.system(), "python": platform.python_version()}


def _visible_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name relative to `folder`, path) of every file below it, sorted by path; hidden ones left out."""
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative.as_posix(), file


def _plain(config: object) -> Any:
    plain = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    return json.loads(json.dumps(plain, default=str))


def _versions() -> dict[str, str]:
    found = {"genir": __version__}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _git_commit() -> str:
    """The commit of this source tree, with "+dirty" behind it where files differ; "unknown" for an installed package."""
    root = Path(__file__).resolve().parent.parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()
        status = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=5
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}+dirty" if status.strip() else commit
