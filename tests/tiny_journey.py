"""The command line in this process, on a data set of four documents and an encoder of random weights: seconds, no network."""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from experiments.cli import main
from genir.formats import write_dataset
from genir.records import Dataset
from tests.tiny_text_models import save_tiny_bert

TRAINING = """
[training]
epochs = 2
batch_size = 4
precision = "float32"
learning_rate = 1e-3
[examples]
passage_words = 8
[examples.pseudo_queries]
per_document = 2
[search]
num_beams = 4
"""
CODE_DECODER = """
[code_decoder]
encoder = "{encoder}"
layers = 1
heads = 2
feedforward = 16
max_text_tokens = 32
"""
SEQ2SEQ = """
[seq2seq]
tokenizer = "{encoder}"
max_text_tokens = 32
[seq2seq.t5]
d_model = 16
d_ff = 32
num_layers = 1
num_heads = 2
d_kv = 8
dropout_rate = 0.1
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: exit code, stdout, stderr, and the warnings that a terminal would show on stderr."""

    code: int
    out: str
    err: str
    warnings: tuple[str, ...]

    @property
    def fault(self) -> str:
        """The one line that a user's fault ends with, without "genir: "; fails where there is more or less than that."""
        assert self.code == 1, (self.code, self.err)
        assert self.out == ""
        assert "Traceback" not in self.err
        [line] = [line for line in self.err.splitlines() if line.startswith("genir: ")]
        assert self.err.endswith(f"{line}\n")
        return line.removeprefix("genir: ")


def genir(*arguments: object) -> Outcome:
    """Run the command `genir` with these arguments; its default checker is the one without a model."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    lexical = patch("experiments.checkers.benchmark.default_checker", return_value="lexical")
    with (
        warnings.catch_warnings(record=True) as caught,
        redirect_stdout(out),
        redirect_stderr(err),
        lexical,
        _argv(arguments),
    ):
        warnings.simplefilter("always", UserWarning)
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    said = tuple(str(one.message) for one in caught if one.category is UserWarning)
    return Outcome(code, out.getvalue(), err.getvalue(), said)


@contextmanager
def _argv(arguments: tuple[object, ...]) -> Iterator[None]:
    before = sys.argv
    sys.argv = ["genir", *map(str, arguments)]
    try:
        yield
    finally:
        sys.argv = before


@dataclass(frozen=True)
class Journey:
    """Folders of one journey through the stages, all under `root`."""

    root: Path
    encoder: Path

    @classmethod
    def begin(cls, root: Path, dataset: Dataset) -> "Journey":
        """Write the encoder and the data folder."""
        made = cls(root, save_tiny_bert(root / "encoder", 16))
        write_dataset(dataset, made.data)
        return made

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.root / "data"

    @property
    def docids(self) -> Path:
        """The identifiers."""
        return self.root / "docids"

    @property
    def model(self) -> Path:
        """The model."""
        return self.root / "model"

    def build(self, scheme: str = "residual", *settings: str, out: Path | None = None) -> Outcome:
        """`genir docids build`; small codebooks unless told otherwise."""
        chosen = {
            "residual": ("levels=2", "codes=2"),
            "product": ("levels=2", "codes=2"),
            "random": ("levels=2", "codes=2"),
            "views": ("levels=2", "codes=4"),
            "hierarchical": ("branching=2",),
        }
        chosen["title"] = chosen["url"] = chosen["ngram"] = (f"tokenizer={self.encoder}",)
        pairs = [part for pair in settings or chosen.get(scheme, ()) for part in ("--set", pair)]
        where = ("--data", self.data, "--out", out or self.docids, "--encoder", self.encoder)
        return genir("docids", "build", *where, "--scheme", scheme, *pairs)

    def config(self, architecture: str = "code_decoder", objective: str = "ranking", more: str = TRAINING) -> Path:
        """A small configuration file."""
        kind = f'architecture = "{architecture}"\n[objective]\nkind = "{objective}"\n'
        kind += "hard_negatives = 2\n" if objective == "ranking" else ""
        shape = (CODE_DECODER if architecture == "code_decoder" else SEQ2SEQ).format(encoder=self.encoder)
        path = self.root / f"{architecture}-{objective}.toml"
        path.write_text(kind + shape + more)
        return path

    def train(self, config: Path | None = None, *options: str, out: Path | None = None) -> Outcome:
        """`genir train`."""
        where = ("--data", self.data, "--docids", self.docids, "--out", out or self.model)
        return genir("train", *where, "--config", config or self.config(), *options)


def run_file(path: Path, last: str = "") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("q1 Q0 d1 1 2.0 run\n" + last)
    return path
