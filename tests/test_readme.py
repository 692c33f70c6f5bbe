"""The documents do not lie: every command and the Python block of the README run, and every path that is named exists.

The README's `bash` blocks are its commands, run in their order and word for word, in one temporary folder. A comment
above a block says what is too long for every run: `<!-- test: slow -->` (the arguments are checked here, the work is
done under the marker `slow`) and `<!-- test: small -->` (run with a small network). The default encoder is a random one
of two layers, so that what the README says costs seconds.
"""

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.cli import app
from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query
from tests.tiny_llama import save_tiny_llama
from tests.tiny_text_models import save_tiny_bert

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/decisions.md"]
DOCUMENTS += ["docs/experiment_log.md", "docs/identifiers.md", "docs/training.md"]

BLOCK = re.compile(r"(?:<!-- test: (?P<mark>\w+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?P<target>[^)]+)\)")
CODE = re.compile(r"`(?P<path>[\w.*-]+(?:/[\w.*-]*)+|[A-Z]\w+(?:\.md)?|\w+\.(?:toml|md|py))`")

CAPITALS = {
    "Oslo": "Norway",
    "Lima": "Peru",
    "Cairo": "Egypt",
    "Quito": "Ecuador",
    "Hanoi": "Vietnam",
    "Accra": "Ghana",
    "Sofia": "Bulgaria",
    "Minsk": "Belarus",
    "Dakar": "Senegal",
    "Tunis": "Tunisia",
    "Paris": "France",
    "Rome": "Italy",
    "Doha": "Qatar",
    "Baku": "Azerbaijan",
    "Riga": "Latvia",
}


@dataclass(frozen=True)
class Command:
    """One line of a `bash` block: its words, and the comment above the block."""

    words: tuple[str, ...]
    mark: str

    def __str__(self) -> str:
        return shlex.join(self.words)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(mark, code) of every block of a language."""
    for found in BLOCK.finditer(README):
        if found["language"] == language:
            yield found["mark"] or "", found["code"]


def commands(program: str) -> list[Command]:
    """The README's commands that start with `program`, in order."""
    lines = [
        (mark, line) for mark, code in blocks("bash") for line in code.replace("\\\n", " ").splitlines() if line.strip()
    ]
    split = [Command(tuple(shlex.split(line)), mark) for mark, line in lines]
    assert {command.words[0] for command in split} <= {"make", "genir"}, "a command that no test runs"
    return [command for command in split if command.words[0] == program]


def a_collection() -> Dataset:
    """Fifteen documents, short enough for the tiny encoder, with one question each in train, dev and test."""
    pairs = list(CAPITALS.items())
    corpus = tuple(
        Document(f"d{i}", f"{place} is the capital of {land}. It is city number {i}.", place)
        for i, (place, land) in enumerate(pairs)
    )
    wordings = {"train": "Where is {0}?", "dev": "What number has {0}?", "test": "What is the capital of {1}?"}
    queries = {
        f"{split}-{i}": Query(f"{split}-{i}", wording.format(*pair), (pair[0],))
        for split, wording in wordings.items()
        for i, pair in enumerate(pairs)
    }
    qrels = {split: Qrels({f"{split}-{i}": {f"d{i}": 1} for i in range(len(pairs))}) for split in wordings}
    return Dataset("collection", corpus, queries, qrels)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README starts from, made the current one; the default encoder is a tiny one."""
    write_dataset(a_collection(), tmp_path / "my_collection")
    notes = tmp_path / "my_notes"
    notes.mkdir()
    (notes / "pump.md").write_text("# Pump\n\nThe pump is oiled every 90 days. " * 40, encoding="utf-8")
    (notes / "valve.txt").write_text("The valve opens at 4 bar.", encoding="utf-8")
    for _, code in blocks("toml"):
        tomllib.loads(code)
        (tmp_path / "train.toml").write_text(code, encoding="utf-8")
    shutil.copytree(ROOT / "experiments" / "configs", tmp_path / "experiments" / "configs")
    encoder = save_tiny_bert(tmp_path / "encoder", width=48)
    monkeypatch.setattr("genir.embedding.resolve_encoder", lambda name: str(encoder) if "MiniLM" in name else name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: Command) -> str:
    """Run one `genir` command in this process and return its output; fail with the command in the message."""
    result = CliRunner().invoke(app, list(command.words[1:]), prog_name="genir", env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"$ {command}\n{result.output}") from result.exception
    assert result.exit_code == 0, f"$ {command}\n{result.output}"
    return result.output


@pytest.mark.filterwarnings("ignore:.*at 7 of 8 levels")  # fewer documents than codes, and we are told
def test_every_command_and_the_python_block_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    shorten(monkeypatch, calls.append)
    printed = {str(command): run(command) for command in commands("genir")}
    assert len(printed) == len(commands("genir")) >= 14
    assert calls == ["train-dense", "demo", "bench train", "schemes", "quality", "labels", "ablation"]

    for path in ("data/corpus.jsonl", "docids/docids.jsonl", "model/manifest.json", "generative.trec", "dense.json"):
        assert (workplace / "mine" / path).is_file(), path
    by_name = {" ".join(line.split()[:2]): text for line, text in printed.items()}
    assert all(name in by_name["genir evaluate"] for name in ("bm25", "dense", "generative"))
    assert "capital of Norway" in by_name["genir answer"] or "I do not know" in by_name["genir answer"]
    assert any("same results as Hugging Face: yes" in text for text in printed.values())

    [(_, code)] = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["run"].rankings) == len(CAPITALS)
    assert names["reply"].question == "What is the capital of Norway?"


def shorten(monkeypatch: pytest.MonkeyPatch, called: Callable[[str], None]) -> None:
    """Let slow commands stop at their arguments, and the benchmark run a small network."""
    import experiments.bench.constraint
    import experiments.bench.decode
    import experiments.bench.train
    import experiments.experiment_schemes
    import experiments.experiments
    import experiments.journey
    import experiments.training.dense
    from genir.models.seq2seq import T5Shape

    def schemes(*_: Any, **__: Any) -> dict[str, Any]:
        called("schemes")
        return {"rows": [], "measures": [], "queries": 0}

    def train_dense(*_: Any, **__: Any) -> dict[str, Any]:
        called("train-dense")
        return {"facts": {"pairs": 0, "seconds": 0, "measure": "nDCG@10", "share": 1.0, "start_dev": 0, "best_dev": 0}}

    monkeypatch.setattr(experiments.training.dense, "train_dense", train_dense)
    shown = {"data": {"bm25": {"RR@10": {"mean": 0, "low": 0, "high": 0}}}}
    slow = {name: lambda *_, name=name: called(name) or shown for name in ("quality", "labels", "ablation")}
    monkeypatch.setattr(experiments.experiments, "EXPERIMENTS", slow)
    monkeypatch.setattr(experiments.bench.train, "run", lambda *_, **__: called("bench train"))
    monkeypatch.setattr(experiments.journey, "run_demo", lambda *_, **__: called("demo"))
    monkeypatch.setattr(experiments.experiment_schemes, "run", schemes)
    llama = save_tiny_llama(Path("tiny-llama"), layers=2, max_position_embeddings=4096)
    monkeypatch.setattr("experiments.registry.llama_folder", lambda name: llama)
    small = T5Shape(d_model=32, d_ff=64, num_layers=1, num_heads=2, d_kv=16)
    bench = experiments.bench.decode.run
    monkeypatch.setattr(
        experiments.bench.decode,
        "run",
        lambda docs, batch, beams, out, repeats, **options: bench(
            min(docs, 500), 4, beams, out, 1, shape=small, **options
        ),
    )
    sizes = experiments.bench.constraint.run
    monkeypatch.setattr(
        experiments.bench.constraint, "run", lambda docs, out, data: sizes([1000, 2000], out, repeats=1, data=data)
    )


# Those whose real work is too long even there have tests of their own, on small data.
SLOW = [
    c for c in commands("genir") if c.mark == "slow" and c.words[1] in ("demo", "experiment") and "run" not in c.words
]


@pytest.mark.slow
@pytest.mark.parametrize("command", SLOW, ids=str)
def test_slow_commands_run(command: Command, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.words[1] == "demo":
        monkeypatch.undo()  # the real encoder: the demo's reader and tables are made for it
        monkeypatch.chdir(workplace)
    else:
        run(Command(("genir", "data", "import", "my_collection", "--out", "mine/data"), ""))
    run(command)
    out = Path(command.words[command.words.index("--out") + 1])
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("command", commands("make"), ids=str)
def test_make_knows_the_targets(command: Command) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    dry = subprocess.run(["make", "--dry-run", *command.words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr
    assert "genir demo" in dry.stdout or "pytest" in dry.stdout


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_that_a_document_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for found in LINK.finditer(text):
        target, _, anchor = found["target"].partition("#")
        if "://" in target:
            continue
        linked = (ROOT / name).parent / target if target else ROOT / name
        assert linked.exists(), f"{name} links to {target}, which is not there"
        if not anchor:
            continue
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.M)
        assert anchor in [heading.lower().replace(" ", "-") for heading in headings], anchor
    for found in CODE.finditer(BLOCK.sub("", text)):
        path = found["path"]
        if is_ours(path):
            assert list(ROOT.glob(path.rstrip("/"))), f"{name} names {path}, which is not there"


def is_ours(path: str) -> bool:
    """Whether a name in code font means a file of the repository, and not one that a user or a command makes."""
    first = path.partition("/")[0]
    if "/" in path:
        return first in (".ci", "genir", "docids", "retrievers", "rag", "experiments", "tests", "docs")
    return path in ("Makefile", "LICENSE") or path.endswith((".md", "project.toml"))


def test_no_document_names_a_machine_or_a_package_host() -> None:
    for name in [*DOCUMENTS, "experiments/atlas/README.md"]:
        text = (ROOT / name).read_text(encoding="utf-8")
        absolute = re.search(r"(?<![\w./:<~*`)-])/[a-z]+/", text)
        assert absolute is None, f"{name} names {absolute and absolute[0]}"
        for host in ("pypi.org", "pythonhosted", "huggingface.co"):
            assert host not in text, f"{name} names {host}"


def test_the_tables_of_packages_and_extras_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    section = README.partition("## What is installed")[2].partition("\n## ")[0]
    core, _, extras = section.partition("Extras")
    named = {name for row in re.findall(r"^\| ([\w, -]+) \|", core, re.M) for name in row.split(", ")}
    needed = {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}
    assert named - {"package"} == needed
    assert re.findall(r"^\| `([\w-]+)` \|", extras, re.M) == list(project["optional-dependencies"])
    assert f"version = {{{project['version']}}}" in README
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_results() -> None:
    from experiments.readme_tables import fill, tables

    for document, found in tables(ROOT / "results").items():
        text = (ROOT / document).read_text(encoding="utf-8")
        assert fill(text, found) == text, "run `python -m experiments.readme_tables`"
