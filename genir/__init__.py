"""genir: generative retrieval, where the model is the index. The ground floor: records, protocols, mechanism."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _version(beside: Path) -> str:
    """The version in the pyproject.toml of a source tree, installed or not; else that of the installed package."""
    try:
        project = tomllib.loads((beside / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if project["name"] == "genir":
            return str(project["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no source tree, or another project's
    try:
        return version("genir")
    except PackageNotFoundError:
        return "0+unknown"


__version__ = _version(Path(__file__).resolve().parent.parent)
