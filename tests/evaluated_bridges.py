"""`genir rag eval` over eight documents, as tests call it: with a generator without weights, and what a fault says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from experiments import reading
from experiments.commands.rag import rag_app
from experiments.reading import make_reader
from genir.errors import GenirError
from rag.reading import GeneratorReader, Reader
from tests.bridges import Builder

BUILDER = Builder()


def rag_eval(world: Path, out: Path, *options: object, data: str = "bridges") -> Result:
    where = ("--data", world / data, "--out", out, "--work", world / "work", "--resamples", 5, "--checker", "lexical")
    return CliRunner().invoke(rag_app, ["eval", *(str(one) for one in (*where, *options))])


def fault(result: Result) -> str:
    """The one line of the user's fault that a command ended with."""
    assert isinstance(result.exception, GenirError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


@contextmanager
def named_builder() -> Iterator[None]:
    """Within, `--generator builder` names the generator without weights."""

    def make(name: str, device: str = "auto") -> Reader:
        return GeneratorReader(BUILDER) if name == "builder" else make_reader(name, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "make_reader", make)
        yield
