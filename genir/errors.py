"""Errors whose text is meant for the user: what we got, what we expected, what to do.

The command line prints them without a traceback and exits with 1. Anything else that escapes is our fault, and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class GenirError(Exception):
    """The user can mend this; the message says how."""


class DataError(GenirError):
    """A data file or folder is missing, malformed or inconsistent."""


class ConfigError(GenirError):
    """A configuration holds an unknown key or an impossible value."""


class ArtefactError(GenirError):
    """A folder written by an earlier stage is missing, unfinished, or belongs to other inputs."""


class MissingExtraError(GenirError):
    """A feature needs a package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'genir[{extra}]'")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """An error for `name` that is none of `known`, with the nearest known name as a suggestion."""
    names = sorted(known)
    folded = {known_name.casefold(): known_name for known_name in names}
    near = get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return ConfigError(f"unknown {kind} {name!r}: {hint}known: {', '.join(names)}")
