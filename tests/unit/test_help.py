"""Every command says what it does: `--help` exits 0, names its options with a sentence each, and fits 100 columns."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from experiments.cli import app

WIDTH = 100
GROUPS = {("data",), ("docids",), ("experiment",), ("bench",), ("tune",), ("train-reader",), ("rag",)}
COMMANDS = {
    ("data", "import"),
    ("data", "inspect"),
    ("docids", "build"),
    ("docids", "inspect"),
    ("train",),
    ("train-terms",),
    ("train-rerank",),
    ("train-dense",),
    ("train-reader", "span"),
    ("train-reader", "pack"),
    ("train-reader", "llama"),
    ("train-joint",),
    ("rag", "eval"),
    ("rag", "check"),
    ("rag", "train-checker"),
    ("answer-joint",),
    ("measure-joint",),
    ("tune", "bm25"),
    ("tune", "hybrid"),
    ("search",),
    ("evaluate",),
    ("answer",),
    ("generate",),
    ("plan",),
    ("serve",),
    ("serve-llm",),
    ("demo",),
    ("experiment", "run"),
    ("experiment", "schemes"),
    ("bench", "constraint"),
    ("bench", "decode"),
    ("bench", "generate"),
    ("bench", "train"),
}
# Commands that print a table, a ranking or an answer: a program can read every one of them.
TRAIN: set[tuple[str, ...]] = {("train",), ("train-terms",), ("train-rerank",), ("train-dense",)}
TRAIN |= {*(("train-reader", name) for name in ("span", "pack", "llama")), ("train-joint",), ("rag", "train-checker")}
PRINT_FIGURES = COMMANDS - TRAIN - {("data", "import"), ("docids", "build"), ("serve",), ("serve-llm",)}

Path = tuple[str, ...]


def walk(command: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The program, its groups and its commands, each with its path."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


EVERYTHING = dict(walk(typer.main.get_command(app)))


def show_help(path: Path, option: str = "--help", width: int = WIDTH) -> str:
    result = CliRunner().invoke(app, [*path, option], prog_name="genir", env={"COLUMNS": str(width), "NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    return result.output


def options_of(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "option"]


def test_the_commands_are_those_of_the_documents() -> None:
    assert set(EVERYTHING) == {()} | GROUPS | COMMANDS


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: " ".join(("genir", *path)))
def test_help_names_everything_in_a_hundred_columns(path: Path) -> None:
    command, shown = EVERYTHING[path], show_help(path)
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert f"Usage: genir {' '.join(path)}".rstrip() in shown
    for option in options_of(command):
        assert all(name in shown for name in option.opts), option.opts
    for name in getattr(command, "commands", {}):
        assert name in shown


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: " ".join(("genir", *path)))
def test_everything_has_a_sentence(path: Path) -> None:
    command = EVERYTHING[path]
    assert command.help, "the command does not say what it does"
    first = command.help.strip().splitlines()[0]
    assert first[0].isupper(), first
    for parameter in command.params:
        help_text = parameter.help or ""
        assert help_text, f"{parameter.name} has no help"
        assert help_text.endswith("."), f"{parameter.name}: {help_text!r} is no sentence"


@pytest.mark.parametrize("path", sorted(PRINT_FIGURES), ids=" ".join)
def test_every_table_can_be_had_as_json(path: Path) -> None:
    assert any("--json" in option.opts for option in options_of(EVERYTHING[path]))


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: " ".join(("genir", *path)))
def test_no_option_name_is_cut_in_a_narrow_terminal(path: Path) -> None:
    shown = show_help(path, width=80)
    assert max(map(len, shown.splitlines())) <= 80
    assert all(name in shown for option in options_of(EVERYTHING[path]) for name in option.opts)


def test_options_of_one_name_read_alike() -> None:
    """Somebody who knows `--out` of one command knows it of the others: one meaning of a flag or a value each."""
    kinds: dict[str, set[bool]] = {}
    for command in EVERYTHING.values():
        for option in options_of(command):
            for name in option.opts:
                kinds.setdefault(name, set()).add(option.is_flag)
    # The benchmark's `--json FILE` writes, every other `--json` prints.
    assert {name for name, flags in kinds.items() if len(flags) > 1} <= {"--json"}


def test_the_short_form_and_the_bare_program_show_the_same() -> None:
    assert show_help((), "-h") == show_help(())
    bare = CliRunner().invoke(app, [], prog_name="genir", env={"COLUMNS": str(WIDTH), "NO_COLOR": "1"})
    assert bare.exit_code == 2  # nothing was asked for: wrong usage, explained
    assert "Usage: genir" in bare.output


def test_version() -> None:
    assert show_help((), "--version").startswith("genir ")


def test_help_loads_nothing_heavy() -> None:
    """What the command line imports at the start is what every `--help` waits for."""
    heavy = "{'torch', 'transformers', 'numpy', 'faiss', 'sklearn', 'bm25s', 'matplotlib'}"
    code = f"import sys, experiments.cli; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
