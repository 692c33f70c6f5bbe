"""Configuration: frozen dataclasses read from TOML. Unknown keys are refused, with a suggestion; nothing is guessed."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from genir.errors import ConfigError, unknown_name

T = TypeVar("T")
_type_hints = cache(get_type_hints)


def load_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError with the file's name and the parser's line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass `cls` from plain values; nested dataclasses from nested tables.

    What a nested table leaves out is as in the field's own default, not as in the defaults of the field's class.
    `where` names the source in error messages, e.g. "squad.toml [training]". Raises ConfigError for unknown keys, for
    missing ones that have no default, and for values of the wrong type.
    """
    return _laid_over(None, cls, values, where)


def _laid_over(given: T | None, cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """`given` with these values in place of its own; an instance of `cls` with its defaults where nothing is given."""
    hints = _type_hints(cls)  # type: ignore[arg-type]
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: {unknown_name('key', key, known)}")
    for name, f in known.items():
        if given is None and name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"{where}: the key {name!r} is missing")
    start = {name: _default(known[name]) if given is None else getattr(given, name) for name in values}
    try:
        changed = {name: _convert(hints[name], value, f"{where} {name}", start[name]) for name, value in values.items()}
        return cls(**changed) if given is None else replace(given, **changed)  # type: ignore[type-var]
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _default(f: "Field[Any]") -> Any:
    """A field's default; None where it has none."""
    if f.default_factory is not MISSING:
        return f.default_factory()
    return None if f.default is MISSING else f.default


def _convert(hint: Any, value: Any, where: str, given: Any = None) -> Any:
    """A plain value as a field of type `hint` wants it; a table lies over what is `given` there."""
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a table, got {value!r}")
        return _laid_over(given, hint, value, where)
    if origin in (Union, UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        return None if value is None else _convert(options[0], value, where, given)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        return tuple(_convert(get_args(hint)[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, got {value}")
    if hint in (int, float, str, bool) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r}")
    if str(origin) == "typing.Literal" and value not in get_args(hint):
        raise ConfigError(f"{where}: {unknown_name('value', str(value), map(str, get_args(hint)))}")
    return value
