"""docs/training.md does not lie: every key that a user may set is there, with its default, and every example is read.

A section is a command. In its tables the first column holds keys, the second their defaults; `.key` stands in the TOML table of
the key before it. What a later command shares with `genir train` need not be said again where its default is the same.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiments.experiments import EXPERIMENTS
from experiments.training.dense import read_config
from experiments.training.model_config import ModelConfig
from experiments.training.rerank import RerankConfig
from experiments.training.terms import TermConfig

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## `genir (?P<command>[\w-]+)`.*?\n(?P<text>.*?)(?=^## |\Z)", re.M | re.S)
SECTIONS = {found["command"]: found["text"] for found in SECTION.finditer(TEXT)}
ROW = re.compile(r"^\| (?P<keys>`[^|]+`) \| (?P<defaults>`[^|]+`) \|", re.M)
EXAMPLE = re.compile(r"^```toml\n(.*?)^```$", re.M | re.S)

READERS: dict[str, Callable[[Path | None], Any]] = {
    "train": ModelConfig.read,
    "train-terms": TermConfig.read,
    "train-rerank": RerankConfig.read,
    "train-dense": read_config,
}


def documented(command: str) -> dict[str, Any]:
    """{dotted key: default} of a section's tables."""
    said: dict[str, Any] = {}
    for row in ROW.finditer(SECTIONS[command]):
        table = ""
        keys, defaults = (re.findall(r"`([^`]*)`", row[column]) for column in ("keys", "defaults"))
        assert len(keys) == len(defaults), row[0]
        for key, default in zip(keys, defaults, strict=True):
            if not key.startswith("."):
                table = key.rpartition(".")[0]
            name = table + key if key.startswith(".") else key
            assert name not in said, f"{name} stands there twice"
            value = tomllib.loads(f"value = {default}")["value"]
            inner = leaves(value, name + ".") if isinstance(value, dict) else {name: value}
            said |= inner
    return said


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: plain value} of nested tables."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found


def test_every_command_has_a_section() -> None:
    assert list(SECTIONS) == list(READERS)


@pytest.mark.parametrize("command", READERS)
def test_every_key_is_there_with_its_default(command: str) -> None:
    real, said = leaves(asdict(READERS[command](None))), documented(command)
    assert said == {key: real.get(key, "no such key") for key in said}
    shared = {} if command == "train" else {key: value for key, value in documented("train").items() if "." in key}
    missing = [key for key, value in real.items() if key not in said and (key not in shared or shared[key] != value)]
    assert missing == []


@pytest.mark.parametrize(
    ("command", "example"),
    [(command, example) for command, text in SECTIONS.items() for example in EXAMPLE.findall(text)],
)
def test_every_example_is_read_and_changes_something(command: str, example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(example, encoding="utf-8")
    before, after = leaves(asdict(READERS[command](None))), leaves(asdict(READERS[command](path)))
    given = leaves(tomllib.loads(example))
    assert {key: after[key] for key in given} == given
    assert all(before[key] != value for key, value in given.items())


def test_every_experiment_is_named() -> None:
    [named] = re.findall(r"`genir experiment run ([\w|]+) ", TEXT)
    assert set(named.split("|")) == set(EXPERIMENTS)


def test_every_paper_is_named_with_its_number() -> None:
    papers = re.findall(r"\[([^\]]+)\]\(https://arxiv\.org/abs/(\d{4})\.\d{5}\)", TEXT)
    assert len(papers) == TEXT.count("https://") > 10
    for name, month in papers:
        assert re.fullmatch(r"\w+(?: et al\.| and \w+)? 20\d\d", name), name
        assert 0 <= int(name[-4:]) - 2000 - int(month[:2]) <= 1, name
